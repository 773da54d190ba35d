"""Every error of the system, one call and one errno at a time, for both writers of the spool."""

import errno
import fcntl
import os

import pytest

from flwr_telemetry.errors import SpoolFullError, SpoolUnsafeError, SpoolWriteError
from flwr_telemetry.spool import posix
from flwr_telemetry.spool.posix import Handle, Writer
from flwr_telemetry.spool.whole import WholeWriter
from tests.emitter.conftest import close_below, numbers
from tests.support import homes, records
from tests.support.faults import descriptors, fail_once, write_at_most
from tests.support.told import ToldWriter

FRAMES = [records.encode(event) for event in records.series(3)]

FAULTS = {
    (Writer, SpoolFullError): "write-ENOSPC write-EDQUOT write-EFBIG open-ENOSPC mkdir-ENOSPC mkdir-EDQUOT",
    (Writer, SpoolWriteError): "write-EROFS write-EIO open-EMFILE open-ENFILE open-EROFS open-EACCES"
    " open-ENOTDIR open-EIO fstat-EIO mkdir-EROFS lstat-EACCES",
    (Writer, SpoolUnsafeError): "open-ELOOP open-ENXIO",
    (WholeWriter, SpoolFullError): "write-ENOSPC fsync-EDQUOT write-EFBIG open-ENOSPC mkdir-EDQUOT"
    " rename-ENOSPC",
    (WholeWriter, SpoolWriteError): "write-EROFS fsync-EIO open-EMFILE open-EACCES mkdir-EROFS scandir-EIO"
    " rename-EROFS",
    (WholeWriter, SpoolUnsafeError): "open-ELOOP",
}


@pytest.mark.parametrize(
    ("writer", "kind", "fault"),
    [(*both, fault) for both, faults in FAULTS.items() for fault in faults.split()],
)
def test_a_fault_of_the_system(home, host, monkeypatch, writer, kind, fault):
    """The event is in no segment, and neither a draft nor a descriptor is left."""
    told = ToldWriter(writer, host)
    call, _, name = fault.partition("-")
    number = getattr(errno, name)
    if call == "lstat":  # asked of a spool that is there
        told.append(FRAMES[0])
        told.writer.close()
    before = descriptors()
    # The first mkdir is that of a parent, which is there.
    fail_once(monkeypatch, call, number, after=int(call == "mkdir"))
    with pytest.raises(kind, match=os.strerror(number)) as caught:
        told.append(FRAMES[1])
    assert type(caught.value) is kind
    assert descriptors() == before
    told.append(FRAMES[2])
    assert numbers(home)[-1] == 2
    assert len(os.listdir(host.spool)) == 1
    told.writer.close()


STALE = {Writer: ["fstat", "flock", "lstat", "write", "fstat after the write"]}
STALE[WholeWriter] = ["open", "write", "fsync", "rename"]


@pytest.mark.parametrize(("writer", "call"), [(writer, call) for writer in STALE for call in STALE[writer]])
def test_a_handle_that_another_host_made_stale(home, host, monkeypatch, writer, call):
    told = ToldWriter(writer, host)
    told.append(FRAMES[0])
    before = descriptors()
    homes.segments(home)[0].unlink()
    name, _, later = call.partition(" ")
    fail_once(monkeypatch, name, errno.ESTALE, after=bool(later), module=fcntl if name == "flock" else os)
    told.append(FRAMES[1])
    assert numbers(home) == [1]
    assert descriptors() == before
    told.writer.close()


@pytest.fixture(params=[True, False], ids=["marked", "without marks"])
def marks(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(posix, "_READ_MARK", -1)
    return request.param


@pytest.mark.usefixtures("marks")
def test_a_stale_file_of_somebody_else_is_left_open(told, monkeypatch, tmp_path):
    """The process has closed our descriptor, and its own file under that number went stale."""
    told.append(FRAMES[0])
    number = told.writer._handle.descriptor
    os.dup2(os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    fail_once(monkeypatch, "fstat", errno.ESTALE)
    fail_once(monkeypatch, "fstat", errno.ESTALE)
    told.append(FRAMES[1])
    assert os.readlink(f"/proc/self/fd/{number}") == str(tmp_path / "theirs")
    assert (tmp_path / "theirs").read_bytes() == b""
    close_below(tmp_path / "theirs")


def test_a_short_write_is_an_error_and_nobody_truncates(host, told, monkeypatch):
    write_at_most(monkeypatch, 20)
    with pytest.raises(SpoolFullError, match="only 20 of"):
        told.append(FRAMES[0])
    monkeypatch.undo()
    told.append(FRAMES[1])
    assert host.events.read_bytes() == FRAMES[0][:20] + FRAMES[1]


# A number means the file that was opened under it, or it is left alone.

FLAGS = os.O_RDWR | os.O_APPEND


def opened(path):
    return Handle(os.open(path, FLAGS | os.O_CREAT), FLAGS)


@pytest.mark.usefixtures("marks")
def test_a_file_of_ours_is_ours_until_it_is_closed(tmp_path):
    """However much is written to it, and though it has lost its name. A mark asks for no signal."""
    subject = opened(tmp_path / "ours")
    assert subject.is_ours()
    assert not fcntl.fcntl(subject.descriptor, fcntl.F_GETFL) & os.O_ASYNC
    os.write(subject.descriptor, b"x")
    (tmp_path / "ours").unlink()
    assert subject.is_ours()
    subject.close()
    assert not subject.is_ours()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(subject.descriptor)


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_a_file_that_somebody_else_opened_is_neither_ours_nor_closed(tmp_path, marks, name):
    """The process has closed our descriptor, and opened its own file, or ours, under that number.

    A mark belongs to one open file, so another descriptor of the same file keeps its lock.
    """
    subject = opened(tmp_path / "ours")
    theirs = os.open(tmp_path / name, FLAGS | os.O_CREAT)
    os.dup2(theirs, subject.descriptor)
    assert subject.is_ours() is (name == "ours" and not marks)
    if not subject.is_ours():
        subject.close()
    assert os.path.sameopenfile(theirs, subject.descriptor)
    os.close(theirs)
    os.close(subject.descriptor)
