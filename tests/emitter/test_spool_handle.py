"""A number means the file that was opened under it, or it is left alone: marked, or without marks."""

import fcntl
import os

import pytest

from flwr_telemetry.spool import posix
from flwr_telemetry.spool.posix import Handle

FLAGS = os.O_RDWR | os.O_APPEND


@pytest.fixture(params=[True, False], ids=["marked", "without marks"])
def marks(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(posix, "_READ_MARK", -1)
    return bool(request.param)


def opened(path):
    return Handle(os.open(path, FLAGS | os.O_CREAT), FLAGS)


@pytest.mark.usefixtures("marks")
def test_a_file_of_ours_is_ours_until_it_is_closed(tmp_path):
    """However much is written to it, and though it has lost its name."""
    subject = opened(tmp_path / "ours")
    assert subject.is_ours()
    os.write(subject.descriptor, b"x")
    (tmp_path / "ours").unlink()
    assert subject.is_ours()
    subject.close()
    assert not subject.is_ours()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(subject.descriptor)


@pytest.mark.usefixtures("marks")
def test_a_file_of_somebody_else_is_neither_ours_nor_closed(tmp_path):
    """The process has closed our descriptor and opened its own file under that number."""
    subject = opened(tmp_path / "ours")
    theirs = os.open(tmp_path / "theirs", FLAGS | os.O_CREAT)
    os.dup2(theirs, subject.descriptor)
    assert not subject.is_ours()
    subject.close()
    assert os.path.sameopenfile(theirs, subject.descriptor)
    os.close(theirs)
    os.close(subject.descriptor)


def test_our_file_opened_by_somebody_else_is_theirs(tmp_path, *, marks):
    """A mark belongs to one open file, so another descriptor of the same file keeps its lock."""
    subject = opened(tmp_path / "ours")
    theirs = os.open(tmp_path / "ours", FLAGS)
    os.dup2(theirs, subject.descriptor)
    assert subject.is_ours() is not marks
    os.close(theirs)
    os.close(subject.descriptor)


def test_a_mark_asks_for_no_signal(tmp_path):
    """Nothing is sent: that takes O_ASYNC."""
    subject = opened(tmp_path / "ours")
    assert not fcntl.fcntl(subject.descriptor, fcntl.F_GETFL) & os.O_ASYNC
    subject.close()
