"""Discarding the segments of a committed batch: the numbered races 11 to 14, each at its very moment."""

import fcntl
import os

import pytest

from flwr_telemetry import files
from flwr_telemetryd.outbox import batch, discard
from flwr_telemetryd.spool import segments
from tests.daemon.conftest import FRAMES, OURS, begin_again, make, sealed, take, whole
from tests.support.faults import DeathError, amid, die, no_locks


@pytest.mark.parametrize("kind", [sealed, whole])
@pytest.mark.parametrize("at", range(3))
def test_race_11_death_between_commit_and_discard(home, host, spooling, monkeypatch, at, kind):
    """Race 11: segments that are in the bodies are discarded before anything is delivered."""
    for number in range(3):
        kind(home, number, at_ns=number + 1)
    committed = make(host, take(host))
    die(monkeypatch, "unlink", at)
    with pytest.raises(DeathError):
        discard.discard(host, committed, OURS, 9)
    monkeypatch.undo()
    assert begin_again(host, spooling) == [0, 1, 2]


@pytest.mark.parametrize("when", ["written", "committed"])
def test_race_12_a_late_append_goes_back_to_the_spool(home, host, spooling, when):
    segment = sealed(home, 0, 1)
    made = take(host)
    with (made.path / segment.name).open("ab", buffering=0) as writer:
        batch.write(made, bursts=True, hardware={})
        if when == "written":
            writer.write(FRAMES[2])
        committed = batch.commit(made)
        if when == "committed":
            writer.write(FRAMES[2])
        discard.discard(host, committed, OURS, 9)
        (returned,) = segments.sealed_segments(host)
        assert segments.start_offset(returned.name) == len(FRAMES[0] + FRAMES[1])
        writer.write(FRAMES[3])
    assert begin_again(host, spooling) == [0, 1, 2, 3]


@pytest.mark.parametrize("without_locks", [False, True])
def test_race_13_a_late_append_between_the_check_and_the_unlink(
    home, host, spooling, monkeypatch, without_locks
):
    """Race 13: the new bytes are found through the descriptor and written to the spool."""
    segment = sealed(home, 0)
    made = take(host)
    descriptor = os.open(made.path / segment.name, os.O_WRONLY | os.O_APPEND)
    committed = make(host, made)
    if without_locks:
        no_locks(monkeypatch)
    amid(monkeypatch, lambda: os.write(descriptor, FRAMES[1]), "unlink")
    discard.discard(host, committed, OURS, 9)
    os.close(descriptor)
    assert begin_again(host, spooling) == [0, 1]


def test_race_14_a_writer_that_holds_the_lock_is_waited_for(home, host, spooling):
    """Race 14: its segment stays, marked, beside the bodies, until the lock is free; nothing is lost."""
    segment = sealed(home, 0)
    made = take(host)
    writer = os.open(made.path / segment.name, os.O_RDWR | os.O_APPEND)
    fcntl.flock(writer, fcntl.LOCK_SH)
    committed = make(host, made)
    discard.discard(host, committed, OURS, 9, wait_s=0)
    assert spooling.delivered() == [0]
    (marked,) = committed.iterdir()
    assert marked.name.endswith(".taken")
    os.write(writer, FRAMES[1])
    assert os.fstat(writer).st_nlink == 1
    os.close(writer)
    assert spooling.delivered() == []
    assert begin_again(host, spooling) == [1]


def test_a_whole_segment_is_deleted_unseen(home, host, spooling, monkeypatch):
    """Nobody appends to it, so it is neither opened nor locked nor marked."""
    whole(home, 0, 1)
    committed = make(host, take(host))
    for call in ("open", "fstat", "chmod", "fchmod"):
        die(monkeypatch, call, 0)
    discard.discard(host, committed, OURS, 9)
    monkeypatch.undo()
    assert [path.suffix for path in committed.iterdir()] == [".json"]
    assert spooling.delivered() == [0, 1]


def test_a_late_event_of_an_adopted_segment_waits_for_nobody(home, host):
    """Its batch has the owner of the run that found it, so the next pass finishes it."""
    segment = sealed(home, 0)
    made = take(host, OURS, [host])
    with (made.path / segment.name).open("ab", buffering=0) as writer:
        committed = make(host, made)
        writer.write(FRAMES[1])
    discard.discard(host, committed, OURS, 9)
    assert len(batch.unfinished(host, OURS, now=files.now(host.state))) == 1


def test_a_size_from_a_cache_deletes_no_event(home, shared_host, monkeypatch):
    """Another machine appends after the look at the size: it is opened again, which asks the server."""
    segment = sealed(home, 0)
    made = take(shared_host)
    committed = make(shared_host, made)
    (on_server,) = (home / committed.relative_to(shared_host.telemetry.parent)).glob(f"{segment.name}*")
    amid(monkeypatch, lambda: files.append_bytes(on_server, FRAMES[1]), "fchmod")
    discard.discard(shared_host, committed, OURS, 9)
    (returned,) = segments.sealed_segments(shared_host)
    assert segments.start_offset(returned.name) == len(FRAMES[0])
