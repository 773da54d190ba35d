"""Every error of the system, one call and one errno at a time, and unsafe paths in the spool's place."""

import errno
import fcntl
import os

import pytest

from flwr_telemetry.errors import SpoolFullError, SpoolUnsafeError, SpoolWriteError
from flwr_telemetry.spool import posix
from tests.emitter.conftest import numbers
from tests.support import homes, records
from tests.support.faults import descriptors, fail_once, write_at_most

FRAMES = [records.encode(event) for event in records.series(3)]


FAULTS = {
    SpoolFullError: "write-ENOSPC write-EDQUOT write-EFBIG open-ENOSPC mkdir-ENOSPC mkdir-EDQUOT",
    SpoolWriteError: "write-EROFS write-EIO open-EMFILE open-ENFILE open-EROFS open-EACCES open-ENOTDIR"
    " open-EIO fstat-EIO mkdir-EROFS lstat-EACCES",
    SpoolUnsafeError: "open-ELOOP open-ENXIO",
}


@pytest.mark.parametrize(
    ("fault", "kind"), [(fault, kind) for kind, faults in FAULTS.items() for fault in faults.split()]
)
def test_a_fault_of_the_system(home, told, monkeypatch, fault, kind):
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


@pytest.mark.parametrize("call", ["fstat", "flock", "lstat", "write", "fstat after the write"])
def test_a_handle_that_another_host_made_stale(home, told, monkeypatch, call):
    told.append(FRAMES[0])
    before = descriptors()
    homes.open_segment(home).unlink()
    name, _, later = call.partition(" ")
    fail_once(monkeypatch, name, errno.ESTALE, after=bool(later), module=fcntl if name == "flock" else os)
    told.append(FRAMES[1])
    assert numbers(home) == [1]
    assert descriptors() == before


@pytest.mark.parametrize("mark", [True, False], ids=["marked", "without marks"])
def test_a_stale_file_of_somebody_else_is_left_open(told, monkeypatch, tmp_path, *, mark):
    """The process has closed our descriptor, and its own file under that number went stale."""
    if not mark:
        monkeypatch.setattr(posix, "_READ_MARK", -1)
    told.append(FRAMES[0])
    number = told.writer._handle.descriptor
    os.dup2(os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    fail_once(monkeypatch, "fstat", errno.ESTALE)
    fail_once(monkeypatch, "fstat", errno.ESTALE)
    told.append(FRAMES[1])
    assert os.readlink(f"/proc/self/fd/{number}") == str(tmp_path / "theirs")
    assert (tmp_path / "theirs").read_bytes() == b""
    for name in descriptors():
        if os.path.realpath(f"/proc/self/fd/{name}") == str(tmp_path / "theirs"):
            os.close(int(name))


def test_a_short_write_is_an_error_and_nobody_truncates(host, told, monkeypatch):
    write_at_most(monkeypatch, 20)
    with pytest.raises(SpoolFullError, match="only 20 of"):
        told.append(FRAMES[0])
    monkeypatch.undo()
    told.append(FRAMES[1])
    assert host.events.read_bytes() == FRAMES[0][:20] + FRAMES[1]


def test_a_segment_at_its_cap_counts_what_it_drops(home, host, told):
    size = len(FRAMES[0])
    told.append(FRAMES[0], size)
    for _ in range(2):
        with pytest.raises(SpoolFullError, match="spool_max_mib"):
            told.append(FRAMES[1], size + len(FRAMES[1]) - 1)
    assert host.dropped.read_bytes() == b"\0\0"
    told.append(FRAMES[2], size + len(FRAMES[2]))
    assert numbers(home) == [0, 2]
