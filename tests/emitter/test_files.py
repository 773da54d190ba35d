"""Directories and files are surely of this user; anything else in their place is refused with a message."""

import errno
import math
import os
import stat
from contextlib import nullcontext

import pytest

from flwr_telemetry import files
from flwr_telemetry.errors import SpoolUnsafeError
from tests.support.faults import amid, descriptors, fail_once, write_at_most


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("bits", [0o700, 0o755, 0o500, 0o720, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path, bits):
    """One that they may only read is used as it is."""
    path = tmp_path / "d"
    path.mkdir()
    path.chmod(bits)
    for check in (files.check_directory, files.ensure_directory):
        with pytest.raises(SpoolUnsafeError, match="chmod 700") if bits & 0o022 else nullcontext():
            check(path)
    assert mode(path) == bits


@pytest.mark.parametrize("bits", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_may_write_to_is_refused(tmp_path, bits):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    path.chmod(bits)
    for use in (files.check_file, files.touch, lambda path: files.replace_bytes(path, b"y")):
        with pytest.raises(SpoolUnsafeError, match="chmod 600"):
            use(path)
    assert path.read_bytes() == b"x"
    path.chmod(0o644)
    files.check_file(path)
    files.append_bytes(path, b"y")
    assert (path.read_bytes(), mode(path)) == (b"xy", 0o644)


@pytest.mark.parametrize(
    ("then_s", "age_s"), [(90, 10), (100, 0), (160, -60), (3700, -3600), (3701, math.inf), (-1e9, 100 + 1e9)]
)
def test_an_age_is_negative_for_some_minutes_at_most(then_s, age_s):
    """Clocks of hosts differ by minutes; years ahead are a clock that was set back since."""
    assert files.age_s(100, then_s) == age_s


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_somebody_else_is_refused(tmp_path):
    (tmp_path / "d").mkdir(mode=0o700)
    (tmp_path / "f").touch()
    for name in ("d", "f"):
        os.chown(tmp_path / name, 12345, -1)
    with pytest.raises(SpoolUnsafeError, match="another user"):
        files.ensure_directory(tmp_path / "d")
    with pytest.raises(SpoolUnsafeError, match="belongs to another user"):
        files.append_bytes(tmp_path / "f", b"x")
    assert (tmp_path / "f").read_bytes() == b""


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_short_writes_are_continued_as_long_as_there_is_space(tmp_path, monkeypatch):
    """A replacement is whole or not at all."""
    before = descriptors()
    write_at_most(monkeypatch, 3)
    files.append_bytes(tmp_path / "a", b"0123456789")
    files.replace_bytes(tmp_path / "r", b"0123456789", durable=True)
    write_at_most(monkeypatch, 3, full_at_call=2)
    with pytest.raises(OSError, match="space"):
        files.replace_bytes(tmp_path / "r", b"another")
    monkeypatch.undo()
    assert contents(tmp_path) == dict.fromkeys("ar", b"0123456789")
    assert descriptors() == before


@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT])
def test_what_a_network_file_system_refuses_only_at_the_close(tmp_path, monkeypatch, number):
    """The old content stays, the temporary file is removed, and the caller gets the error."""
    (tmp_path / "r").write_bytes(b"old")
    real, before = os.close, descriptors()

    def refuse(descriptor):
        real(descriptor)
        raise OSError(number, os.strerror(number))

    for use, name in ((files.replace_bytes, "r"), (files.append_bytes, "a")):
        monkeypatch.setattr(os, "close", refuse)
        with pytest.raises(OSError, match=os.strerror(number)):
            use(tmp_path / name, b"another")
        monkeypatch.undo()
    assert contents(tmp_path) == {"a": b"another", "r": b"old"}
    assert descriptors() == before


def test_touch_sets_the_time(tmp_path):
    (tmp_path / "old").write_bytes(b"x")
    os.utime(tmp_path / "old", (0, 0))
    files.touch(tmp_path / "old")
    files.touch(tmp_path / "new")
    assert 0 < (tmp_path / "old").stat().st_mtime <= (tmp_path / "new").stat().st_mtime
    assert (tmp_path / "old").read_bytes() == b"x"


def test_a_rename_that_was_done_and_answered_as_if_not(tmp_path, monkeypatch):
    """NFS repeats a request whose answer was lost; the file at the path tells whether it was done."""
    real = os.replace

    def twice(source, target):
        real(source, target)
        real(source, target)

    monkeypatch.setattr(os, "replace", twice)
    files.replace_bytes(tmp_path / "r", b"0123456789")
    assert (tmp_path / "r").read_bytes() == b"0123456789"
    amid(monkeypatch, (tmp_path / f".r.{os.getpid()}.part").unlink, "replace")
    with pytest.raises(FileNotFoundError):
        files.replace_bytes(tmp_path / "r", b"another")
    assert contents(tmp_path) == {"r": b"0123456789"}


def test_a_path_names_the_file_that_was_opened_there(tmp_path, monkeypatch):
    """Not a file that took its place, a link to it, or a file that another host removed."""
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"1")
    link.symlink_to(path)
    with files.opened(path, os.O_RDWR) as descriptor:
        assert files.names(path, descriptor)
        assert files.names(path, os.fstat(descriptor))
        assert not files.names(link, descriptor)
        path.rename(tmp_path / "elsewhere")
        assert not files.names(path, descriptor)
        path.write_bytes(b"2")
        assert not files.names(path, descriptor)

        fail_once(monkeypatch, "lstat", errno.ESTALE)
        assert not files.names(path, descriptor)
        fail_once(monkeypatch, "lstat", errno.EIO)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            files.names(path, descriptor)
