"""Batches: segments, damage and failing calls, and the numbered races 8 to 10, each at its very moment."""

import contextlib
import functools
import os

import pytest

from flwr_telemetry import record
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetryd.burst import codec
from flwr_telemetryd.errors import LostRaceError
from flwr_telemetryd.outbox import batch, discard, forgotten
from flwr_telemetryd.spool import segments
from tests.daemon.conftest import EVENTS, FRAMES, OURS, THEIRS, begin_again, make, sealed, take, take_over
from tests.support import homes, records, wire
from tests.support.faults import DeathError, amid, descriptors, die


def test_the_oldest_go_first_and_a_batch_is_bounded(home, host, monkeypatch):
    paths = [sealed(home, number, at_ns=number + 1) for number in range(5)]
    monkeypatch.setattr(batch, "MAX_BATCH_BYTES", 2 * len(FRAMES[0]) + 5)
    sizes = []
    for _ in range(3):
        names = sorted(path.name for path in take(host).path.iterdir())
        assert names == [path.name for path in paths[sum(sizes) :][: len(names)]]
        sizes.append(len(names))
    assert sizes == [2, 2, 1]
    assert batch.take(host, OURS, 1) is None
    monkeypatch.setattr(batch, "MAX_BATCH_BYTES", 1)
    sealed(home, 1)
    assert len(list(take(host).path.iterdir())) == 1


@pytest.mark.parametrize("bursts", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 40])
def test_equal_events_of_a_batch_keep_their_number(home, host, spooling, monkeypatch, bursts, count):
    """Equal bodies would have one key, also where memory is short and a burst is given early."""
    monkeypatch.setattr(batch, "Coalescer", functools.partial(codec.Coalescer, most_held_bytes=10_000))
    crowd = [EVENTS[1], *[EVENTS[0], EVENTS[2]] * count]
    homes.put(home, crowd, name=segments.sealed_name(1))
    made = take(host)
    written = batch.write(made, bursts=bursts, hardware={})
    bodies = spooling.bodies(made.path)
    assert written.bodies == len(bodies)
    assert {wire.key_of(body) for body in bodies} == {path.stem for path in made.path.glob("*.json")}
    assert wire.bag(wire.expand_all(bodies)) == wire.bag(map(record.to_wire, crowd))


@pytest.mark.parametrize("bursts", [False, True])
def test_an_opt_out_amid_a_batch_ends_its_bodies(home, host, bursts):
    """Before every body, because there may be very many."""
    crowd = [records.sample({"n": n}, type=f"E{n % 3}") for n in range(6)]
    homes.put(home, crowd, name=segments.sealed_name(1))
    made, asked = take(host), []
    with pytest.raises(LostRaceError):
        batch.write(made, bursts=bursts, hardware={}, checkpoint=lambda: asked.append(1) or len(asked) < 3)
    assert len(list(made.path.glob("*.json"))) == 2


def test_damage_is_kept_once(home, host):
    data = b"torn" + FRAMES[0] + b"more"
    segment = homes.put_bytes(home, data, name=segments.sealed_name(1))
    take(host)
    before = descriptors()
    for _ in range(3):
        (made,) = take_over(host, OURS)
        assert batch.write(made, bursts=True, hardware={}) == batch.Written(bodies=1, damaged=2)
    assert (host.damaged / f"{segment.name.removesuffix('.msgpack')}.bin").read_bytes() == b"tornmore"
    assert descriptors() == before


@pytest.mark.parametrize("at", range(4))
def test_race_8_death_between_the_takes(home, host, spooling, monkeypatch, at):
    for number in range(3):
        sealed(home, number, at_ns=number + 1)
    die(monkeypatch, "rename", at)
    with pytest.raises(DeathError) if at < 3 else contextlib.nullcontext():
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
    with contextlib.suppress(DeathError):
        make(host, made)
        assert at >= 2, "it has fewer such calls, which is fine for the last ones"
    monkeypatch.undo()
    assert begin_again(host, spooling) == [0, 1, 9]


def test_race_9_what_a_death_left_is_begun_again(home, host):
    """Race 9: bodies and temporary files are deleted, and marks are taken off, whatever they say."""
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


@pytest.mark.parametrize("segments_", [1, 2])
def test_race_10_two_take_one_segment(home, host, spooling, monkeypatch, segments_):
    """Race 10: the first rename gets it; the other sidecar takes the rest, or no batch, and no directory."""
    for number in range(segments_):
        sealed(home, number, at_ns=number + 1)
    theirs = []
    monkeypatch.setattr(batch, "MAX_BATCH_BYTES", 1)
    amid(monkeypatch, lambda: theirs.append(take(host, THEIRS)), "rename")
    ours = batch.take(host, OURS, 1)
    assert len(list(host.work.iterdir())) == segments_
    for made in (*theirs, ours) if ours else theirs:
        make(host, made)
    assert spooling.delivered() == list(range(segments_))


@pytest.mark.parametrize("late", [False, True])
def test_race_10_two_take_over_one_batch(home, host, spooling, monkeypatch, late):
    """Race 10: one rename succeeds; the other sidecar, which may have listed it before, leaves the batch."""
    sealed(home, 0)
    take(host, "2" * 16)
    theirs = []
    (path,) = batch.unfinished(host, OURS)
    if late:
        theirs += take_over(host, THEIRS)
    else:
        amid(monkeypatch, lambda: theirs.extend(take_over(host, THEIRS)), "rename")
    with pytest.raises(LostRaceError):
        batch.take_over(host, path, OURS)
    make(host, theirs[0])
    assert spooling.delivered() == [0]


@pytest.mark.parametrize("call", ["open", "rename", "commit"])
def test_race_10_the_loser_of_a_batch_leaves_it(home, host, spooling, monkeypatch, call):
    """Race 10: amid the write or at the commit, LostRaceError; the other delivers each event once."""
    sealed(home, 0, 1)
    made = take(host)
    theirs = [made]
    if call == "commit":
        make(host, made)
        with pytest.raises(LostRaceError):
            batch.commit(made)
    else:
        amid(monkeypatch, lambda: theirs.extend(take_over(host, THEIRS)), call)
        with pytest.raises(LostRaceError):
            make(host, made)
        make(host, theirs[1])
    assert spooling.delivered() == [0, 1]


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


def test_a_rename_whose_answer_was_lost_is_no_loss_of_the_batch(home, host, spooling, monkeypatch):
    """NFS repeats it and reports that nothing was there; otherwise a large batch might never be made."""
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
    discard.discard(host, batch.commit(made), OURS, 9)
    assert spooling.delivered() == [0, 1]


GONE, OTHER = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1", "00000000-6bd5-4d6b-8a3c-6f2f60f0c9d1"


def of(number, source):
    return records.encode(records.sample({"n": number}, source=source))


@pytest.mark.parametrize("bursts", [True, False])
def test_events_of_a_forgotten_source_are_left_out(home, host, spooling, bursts):
    homes.put_bytes(home, of(1, GONE) + of(2, OTHER) + b"torn", name=segments.sealed_name(1))
    homes.put_bytes(home, of(3, GONE), name=segments.sealed_name(2))
    homes.put_bytes(home, of(4, OTHER) + of(5, GONE), name=segments.sealed_name(3))
    forgotten.add(Home(home), GONE)
    made = take(host)
    assert batch.write(made, bursts=bursts, hardware={"memory_gib": 7}) == batch.Written(
        bodies=1 if bursts else 2, damaged=1, forgotten=3
    )
    committed = batch.commit(made)
    discard.discard(host, committed, OURS, 9)
    assert not any(GONE.encode() in path.read_bytes() for path in committed.iterdir())
    assert spooling.delivered() == [2, 4]
    assert homes.unsent_files(home) == []


def test_no_batch_is_written_while_it_is_unknown_what_is_forgotten(home, host, spooling):
    """The file cannot be read: the batch stays as it was taken, and is made later."""
    sealed(home, 0)
    Home(home).forgotten.mkdir()
    made = take(host)
    with pytest.raises((OSError, TelemetryError)):
        batch.write(made, bursts=True, hardware={})
    assert spooling.bodies(made.path) == []
    Home(home).forgotten.rmdir()
    assert begin_again(host, spooling) == [0]
