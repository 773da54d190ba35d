"""What is a server's and what is not, by the mounts of this very machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from flwr_telemetry import nfs
from flwr_telemetry.nfs import Mounts
from tests.support import netfs

if TYPE_CHECKING:
    from pathlib import Path


def is_remote(path: Path | str) -> bool:
    """Ask anew about the device that a path is on."""
    return Mounts().is_remote(os.stat(path).st_dev)


@pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())
def test_a_mount_is_told_by_its_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what sends late counts: not every file system of another process, and none of this machine."""
    (tmp_path / "served").mkdir()
    with netfs.mounted(tmp_path / "served", tmp_path / "mount", netfs.Traits()) as mount:
        assert not is_remote(mount)
        monkeypatch.setattr(nfs, "_TYPES", {"nfs4", "fuse.netfs"})
        assert is_remote(mount)
        assert not any(map(is_remote, (tmp_path, "/proc", "/dev", "/sys")))


def test_a_device_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of mounts may be long; one that cannot be read tells of no server."""
    mounts, device = Mounts(), os.stat("/proc").st_dev
    monkeypatch.setattr(nfs, "_TYPES", {"proc"})
    assert mounts.is_remote(device)
    monkeypatch.setattr(nfs, "_MOUNTS", "/nowhere")
    assert mounts.is_remote(device)
    assert not Mounts().is_remote(device)
