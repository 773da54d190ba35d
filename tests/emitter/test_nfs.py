"""What is a server's and what is not, by the mounts of this very machine."""

import os

import pytest

from flwr_telemetry import nfs
from tests.support import netfs


def is_remote(path):
    """Ask anew about the device that a path is on."""
    return nfs.is_remote.__wrapped__(os.stat(path).st_dev)


@pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())
def test_a_mount_is_told_by_its_type(tmp_path, monkeypatch):
    """Only what sends late counts: not every file system of another process, and none of this machine."""
    (tmp_path / "served").mkdir()
    with netfs.mounted(tmp_path / "served", tmp_path / "mount", netfs.Traits()) as mount:
        assert not is_remote(mount)
        monkeypatch.setattr(nfs, "_TYPES", {"nfs4", "fuse.netfs"})
        assert is_remote(mount)
        assert not any(map(is_remote, (tmp_path, "/proc", "/dev", "/sys")))


def test_a_device_is_asked_for_once(monkeypatch):
    """A list of mounts may be long; one that cannot be read tells of no server."""
    device = os.stat("/proc").st_dev
    nfs.is_remote.cache_clear()
    monkeypatch.setattr(nfs, "_TYPES", {"proc"})
    assert nfs.is_remote(device)
    monkeypatch.setattr(nfs, "_MOUNTS", "/nowhere")
    assert nfs.is_remote(device)
    nfs.is_remote.cache_clear()
    assert not nfs.is_remote(device)
