"""The devices that belong to a file server, by the mounts of this machine."""

import os

import pytest

from flwr_telemetry import nfs
from tests.support import netfs


def is_remote(path):
    return nfs.is_remote.__wrapped__(os.stat(path).st_dev)


@pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())
def test_a_mount_is_told_by_its_type(tmp_path, monkeypatch):
    (tmp_path / "served").mkdir()
    with netfs.mounted(tmp_path / "served", tmp_path / "mount", netfs.Traits()) as mount:
        assert not is_remote(mount)
        monkeypatch.setattr(nfs, "_TYPES", {"nfs4", "fuse.netfs"})
        assert is_remote(mount)
        assert not nfs.is_local(os.stat(mount).st_dev)
        assert not any(map(is_remote, (tmp_path, "/proc", "/dev", "/sys")))


def test_a_disk_and_memory_belong_to_this_machine(monkeypatch):
    disk, memory = os.makedev(8, 1), os.makedev(0, 77)
    monkeypatch.setattr(nfs, "_MOUNTS", "/nowhere")
    assert (nfs.is_local(disk), nfs.is_local(memory)) == (True, False)
    monkeypatch.setattr(nfs, "_kind", lambda device: "tmpfs" if device == memory else "")
    assert nfs.is_local(memory)


def test_a_device_is_asked_for_once(monkeypatch):
    device = os.stat("/proc").st_dev
    nfs.is_remote.cache_clear()
    monkeypatch.setattr(nfs, "_TYPES", {"proc"})
    assert nfs.is_remote(device)
    monkeypatch.setattr(nfs, "_MOUNTS", "/nowhere")
    assert nfs.is_remote(device)
    nfs.is_remote.cache_clear()
    assert not nfs.is_remote(device)
