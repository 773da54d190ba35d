"""Calls that macOS has in its own way. Here only their use is shown, because no Mac is at hand."""

import errno
import fcntl
import os

import pytest

from flwr_telemetry import files, source, system
from flwr_telemetry.errors import SpoolUnsafeError
from tests.support import faults


def test_the_cache_of_the_disk_is_emptied_too(tmp_path, monkeypatch):
    """By F_FULLFSYNC. Where a file system does not know it, an ordinary fsync has to do."""
    calls = []

    def full(_descriptor, command):
        calls.append(command)
        if len(calls) > 2:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full)
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    with (tmp_path / "a").open("w") as file:
        system.fsync(file.fileno())
        system.fsync_directory(tmp_path)
        assert calls == [51, 51]
        system.fsync(file.fileno())
    assert calls == [51, 51, 51, "fsync"]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOTSUP])
def test_a_socket_in_the_place_of_a_file_is_told_by_another_error(tmp_path, monkeypatch, number):
    faults.fail_once(monkeypatch, "open", number)
    with pytest.raises(SpoolUnsafeError, match="is no plain file; remove it"):
        files.open_file(tmp_path / "a", os.O_RDONLY)


def test_a_file_system_without_links_has_a_source_all_the_same(home, monkeypatch):
    """ENOTSUP is another number than EOPNOTSUPP there."""
    home.mkdir(parents=True)
    monkeypatch.setattr(source, "UNSUPPORTED_ERRNOS", {45, 78, 102})
    faults.fail_once(monkeypatch, "link", 45)
    assert source.is_uuid(source.ensure(home / "source"))
