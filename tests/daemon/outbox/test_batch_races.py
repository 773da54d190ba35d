"""A batch in the making: the races of its docstring by number, each in the very moment that it names."""

import fcntl
import os
from itertools import count

import pytest

from flwr_telemetryd.errors import LostRaceError
from flwr_telemetryd.outbox import batch, discard
from flwr_telemetryd.spool import segments
from tests.daemon.conftest import FRAMES, OURS, THEIRS, begin_again, make, sealed, take, take_over
from tests.support import homes, records
from tests.support.faults import amid, no_locks


class DeathError(BaseException):
    """Stands for a SIGKILL: nothing catches it, and nothing is cleaned up that the system would not clean."""


def die(monkeypatch, call, at):
    """Die just before the given one of these system calls."""
    real, numbers = getattr(os, call), count()

    def dying(*arguments, **options):
        if next(numbers) == at:
            raise DeathError
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, dying)


@pytest.mark.parametrize("at", range(4))
def test_race_8_death_between_the_takes(home, host, spooling, monkeypatch, at):
    """Race 8: some segments are in work/ and some in the spool; the next sidecar delivers each once."""
    for number in range(3):
        sealed(home, number, at_ns=number + 1)
    die(monkeypatch, "rename", at)
    if at < 3:
        with pytest.raises(DeathError):
            take(host)
    else:
        take(host)
    monkeypatch.undo()
    assert begin_again(host, spooling) == [0, 1, 2]


STEPS = [("open", range(7)), ("write", range(2)), ("fsync", range(4)), ("rename", range(4))]


@pytest.mark.parametrize(("call", "at"), [(call, at) for call, numbers in STEPS for at in numbers])
def test_race_9_death_while_a_batch_is_made(home, host, spooling, monkeypatch, call, at):
    """Race 9: at whatever call of the write or the commit it comes, each event is delivered once."""
    homes.put(home, [records.sample({"other": 1, "n": 9})], name=segments.sealed_name(2))
    sealed(home, 0, 1)
    made = take(host)
    die(monkeypatch, call, at)
    try:
        make(host, made)
    except DeathError:
        died = True
    else:
        died = False  # it has fewer such calls, which is fine for the last ones
    monkeypatch.undo()
    assert died or at >= 2
    assert begin_again(host, spooling) == [0, 1, 9]


def test_race_9_what_a_death_left_is_begun_again(home, host):
    """Race 9: bodies and drafts go, marks come off, whatever they say."""
    segment = sealed(home, 0)
    made = take(host, THEIRS)
    (made.path / segment.name).rename(made.path / f"{segment.name}.3.taken")
    for name in ("k.json", ".k.json.7.part"):
        (made.path / name).write_bytes(b"half")
    (again,) = take_over(host, OURS)
    assert (again.name, again.owner) == (made.name, OURS)
    assert [path.name for path in again.path.iterdir()] == [segment.name]
    assert not made.path.exists()
    assert take_over(host, OURS) == [again]


def test_race_10_two_take_one_segment(home, host, spooling, monkeypatch):
    """Race 10: whoever renames it first has it; the other takes the rest."""
    for number in range(2):
        sealed(home, number, at_ns=number + 1)
    theirs = []
    monkeypatch.setattr(batch, "MAX_BATCH_BYTES", 1)
    amid(monkeypatch, lambda: theirs.append(take(host, THEIRS)), "rename")
    ours = take(host)
    for made in (*theirs, ours):
        make(host, made)
    assert spooling.delivered() == [0, 1]


def test_race_10_nothing_is_left_to_take(home, host, monkeypatch):
    """Race 10: a batch of nothing is none, and leaves no directory."""
    segment = sealed(home, 0)
    amid(monkeypatch, segment.unlink, "rename")
    assert batch.take(host, OURS, 1) is None
    assert list(host.work.iterdir()) == []


def test_race_10_two_take_over_one_batch(home, host, spooling, monkeypatch):
    """Race 10: one rename succeeds; the other lets go without an error."""
    sealed(home, 0)
    take(host, "2" * 16)
    theirs = []
    amid(monkeypatch, lambda: theirs.extend(take_over(host, THEIRS)), "rename")
    assert take_over(host, OURS) == []
    make(host, theirs[0])
    assert spooling.delivered() == [0]


def test_race_10_who_is_slow_to_take_over_is_told(home, host):
    """Race 10: a batch that has gone since the look is another's."""
    sealed(home, 0)
    take(host, "2" * 16)
    (path,) = batch.unfinished(host, OURS)
    take_over(host, THEIRS)
    with pytest.raises(LostRaceError):
        batch.take_over(host, path, OURS)


@pytest.mark.parametrize("call", ["open", "rename"])
def test_race_10_who_lost_the_batch_lets_go(home, host, spooling, monkeypatch, call):
    """Race 10: amid the write or at the commit, LostRaceError; the other delivers each event once."""
    sealed(home, 0, 1)
    made = take(host)
    theirs = []
    amid(monkeypatch, lambda: theirs.extend(take_over(host, THEIRS)), call)
    with pytest.raises(LostRaceError):
        make(host, made)
    make(host, theirs[0])
    assert spooling.delivered() == [0, 1]


def test_race_10_who_lost_the_commit_lets_go(home, host, spooling):
    sealed(home, 0)
    made = take(host)
    batch.write(made, bursts=True, hardware={})
    batch.commit(made)
    with pytest.raises(LostRaceError):
        batch.commit(made)
    assert spooling.delivered() == [0]


def test_race_10_another_hosts_batch_is_left_alone_while_it_is_touched(home, host):
    """Race 10: only what was not touched for ten minutes, by a clock ahead or behind, is taken over."""
    sealed(home, 0)
    made = take(host, THEIRS)
    touched = made.path.stat().st_mtime
    for ahead_s in (-3600, 0, 599):
        assert take_over(host, OURS, now=touched + ahead_s) == []
    assert made.path.exists()
    for owner, ahead_s in ((OURS, 601), ("2" * 16, -3601)):
        assert [again.owner for again in take_over(host, owner, now=touched + ahead_s)] == [owner]
        (touched,) = (path.stat().st_mtime for path in host.work.iterdir())


@pytest.mark.parametrize("at", range(3))
def test_race_11_death_between_commit_and_discard(home, host, spooling, monkeypatch, at):
    """Race 11: segments that are in the bodies are discarded before anything is delivered."""
    for number in range(3):
        sealed(home, number, at_ns=number + 1)
    committed = make(host, take(host))
    die(monkeypatch, "unlink", at)
    with pytest.raises(DeathError):
        discard.discard(host, committed, 9)
    monkeypatch.undo()
    assert begin_again(host, spooling) == [0, 1, 2]


@pytest.mark.parametrize("when", ["written", "committed"])
def test_race_12_a_late_append_goes_back_to_the_spool(home, host, spooling, when):
    segment = sealed(home, 0, 1)
    made = take(host)
    descriptor = os.open(made.path / segment.name, os.O_WRONLY | os.O_APPEND)
    batch.write(made, bursts=True, hardware={})
    if when == "written":
        os.write(descriptor, FRAMES[2])
    committed = batch.commit(made)
    if when == "committed":
        os.write(descriptor, FRAMES[2])
    discard.discard(host, committed, 9)
    (returned,) = segments.sealed_segments(host)
    assert segments.start_offset(returned.name) == len(FRAMES[0] + FRAMES[1])
    os.write(descriptor, FRAMES[3])
    os.close(descriptor)
    assert begin_again(host, spooling) == [0, 1, 2, 3]


def test_a_rename_whose_answer_was_lost_is_no_loss_of_the_batch(home, host, spooling, monkeypatch):
    """NFS sends it again, and says that there is nothing; else a large batch might never be made."""
    sealed(home, 0, 1)
    real = os.rename

    def twice(source, target):
        for _ in range(2):
            real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", twice)
        made = batch.take_over(host, take(host).path, THEIRS)
        for _ in range(2):
            assert batch.write(made, bursts=True, hardware={}).bodies == 1
            batch._begin_again(made)
        batch.write(made, bursts=True, hardware={})
    discard.discard(host, batch.commit(made), 9)
    assert spooling.delivered() == [0, 1]


@pytest.mark.parametrize("without_locks", [False, True])
def test_race_13_a_late_append_between_the_look_and_the_unlink(
    home, host, spooling, monkeypatch, without_locks
):
    """Race 13: what came in between is found through the descriptor and written to the spool."""
    segment = sealed(home, 0)
    made = take(host)
    descriptor = os.open(made.path / segment.name, os.O_WRONLY | os.O_APPEND)
    committed = make(host, made)
    if without_locks:
        no_locks(monkeypatch)
    amid(monkeypatch, lambda: os.write(descriptor, FRAMES[1]), "unlink")
    discard.discard(host, committed, 9)
    os.close(descriptor)
    assert begin_again(host, spooling) == [0, 1]


def test_race_14_a_writer_that_holds_the_lock_is_waited_for(home, host, spooling):
    """Race 14: its segment stays, marked, beside the bodies, until the lock is free; nothing is lost."""
    segment = sealed(home, 0)
    made = take(host)
    writer = os.open(made.path / segment.name, os.O_RDWR | os.O_APPEND)
    fcntl.flock(writer, fcntl.LOCK_SH)
    committed = make(host, made)
    discard.discard(host, committed, 9, wait_s=0)
    assert spooling.delivered() == [0]
    (marked,) = committed.iterdir()
    assert marked.name.endswith(".taken")
    os.write(writer, FRAMES[1])
    assert os.fstat(writer).st_nlink == 1
    os.close(writer)
    assert spooling.delivered() == []
    assert begin_again(host, spooling) == [1]
