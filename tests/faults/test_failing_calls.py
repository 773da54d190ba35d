"""Every system call of a sidecar's round fails once: nothing is lost, dropped or sent without need."""

import errno
import os
import sys
from collections import Counter
from itertools import count

import pytest

from flwr_telemetry.errors import TelemetryError
from flwr_telemetryd.delivery.outcome import Delivered, Refused
from flwr_telemetryd.runtime import Mode
from tests.faults.scene import SEALED, body_of, committed, unfinished
from tests.faults.world import World
from tests.support import homes, records, wire

EVENTS = records.series(12)

# What a full disk, a quota, a broken disk or a network file system says, each to a call that hears it.
CALLS = {
    "write": (errno.EDQUOT, errno.EIO),
    "fsync": (errno.EIO,),
    "open": (errno.EMFILE, errno.ESTALE),
    "mkdir": (errno.EDQUOT,),
    "rename": (errno.EIO,),
    "replace": (errno.EDQUOT,),
    "unlink": (errno.EIO,),
    "rmdir": (errno.EIO,),
    "utime": (errno.EDQUOT,),
    "read": (errno.EIO,),
    "pread": (errno.ESTALE,),
    "scandir": (errno.EMFILE, errno.ESTALE),
    "listdir": (errno.EIO,),
    "stat": (errno.ESTALE,),
    "lstat": (errno.EIO,),
    "fstat": (errno.ESTALE,),
    "close": (errno.EIO,),
}
_CALLERS = 3


def fail_at(monkeypatch, call, number, at):
    """Let the call with this index fail, or none for -1; gives the first call of each place in the code."""
    real, places, index = getattr(os, call), {}, count()

    def failing(*arguments, **options):
        this = next(index)
        places.setdefault(_place(sys._getframe(1)), this)
        if this != at:
            return real(*arguments, **options)
        if call == "close":
            real(*arguments, **options)  # the descriptor is gone all the same
        raise OSError(number, os.strerror(number), str(arguments[0]) if arguments else None)

    monkeypatch.setattr(os, call, failing)
    return places


def _place(frame):
    found = []
    while frame is not None and len(found) < _CALLERS:
        if "flwr_telemetry" in frame.f_code.co_filename:
            found.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def filled(home, patch):
    """Give a service with events in each stage: open and sealed segments, a dead one's batch, the outbox."""
    homes.write_settings(home, 'url = "http://127.0.0.1:9/"\n')
    homes.put(home, EVENTS[:3])
    homes.put_bytes(home, records.encode(EVENTS[3]) + b"damage" + records.encode(EVENTS[4]), name=SEALED)
    unfinished(home, EVENTS[5:7])
    committed(home, body_of(EVENTS[7]))
    committed(home, body_of(*EVENTS[8:11]))
    homes.put(home, EVENTS[11:12], host_of="other")
    for path in homes.host(home, "other").rglob("*"):
        homes.age(path, 3600)
    patch.setattr(os, "fsync", lambda _descriptor: None)  # nobody pulls the plug here
    world = World(home, Mode.SERVICE, patch)
    world.answer_by = answer
    return world


def answer(_key, body):
    """Refuse bursts, so that they are split."""
    return Refused("the collector answered 422") if b'"burst":' in body else Delivered()


def one_fault(home, monkeypatch, call, number, at):
    """Let one call fail amid a round, and time pass; all arrives once. Gives the first call of each place."""
    sidecars = 1
    with monkeypatch.context() as patch:
        world = filled(home, patch)
        with monkeypatch.context() as fault:
            places = fail_at(fault, call, number, at)
            for _ in range(2):
                sidecars += look(world)
        for _ in range(9):
            sidecars += look(world)
            if not homes.unsent_files(home):
                break
    where = f"call {at} of {call}"
    taken = [(key, body) for key, body in world.sent if isinstance(answer(key, body), Delivered)]
    times = Counter(key for key, _ in taken)
    assert homes.unsent_files(home) == [], f"{where}: left"
    assert wire.serials(wire.expand_all(dict(taken).values())) == list(range(12)), f"{where}: lost"
    assert max(times.values()) <= sidecars, f"{where}: sent again without need"
    dropped = homes.host(home) / "dropped"
    assert not dropped.exists() or dropped.stat().st_size == 0, f"{where}: dropped"
    return sorted(places.values())


def look(world):
    """Run one pass, and let time pass; if the pass ends the sidecar, start another."""
    try:
        ended = world.sidecar.run_pass() is not None
    except (OSError, TelemetryError):  # with these a process ends, and says so
        ended = True
    world.pass_time(1000)
    if ended:
        world.begin()
    return ended


@pytest.mark.parametrize(
    ("call", "number"),
    [(call, number) for call, numbers in CALLS.items() for number in numbers],
    ids=[f"{call}-{errno.errorcode[number]}" for call, numbers in CALLS.items() for number in numbers],
)
def test_each_call_fails_once(tmp_path, monkeypatch, call, number):
    """The sidecar repeats the failed step, and every event arrives once."""
    fresh = (new_home(tmp_path / str(turn)) for turn in count())
    places = one_fault(next(fresh), monkeypatch, call, number, -1)
    assert places
    for at in places:
        one_fault(next(fresh), monkeypatch, call, number, at)


@pytest.mark.parametrize(
    "call", "open read pread lstat fstat scandir listdir rename unlink rmdir mkdir utime".split()
)
def test_no_stale_handle_ends_a_sidecar(tmp_path, monkeypatch, call):
    """Another host removes things at any moment; a service is not to end at each of them."""
    fresh = (new_home(tmp_path / str(turn)) for turn in count())

    def places_of(at):
        with monkeypatch.context() as patch:
            world = filled(next(fresh), patch)
            with monkeypatch.context() as fault:
                places = fail_at(fault, call, errno.ESTALE, at)
                assert world.sidecar.run_pass() is None
                world.sidecar._sleep()
        return sorted(places.values())

    for at in places_of(-1):
        places_of(at)


def new_home(directory):
    directory.mkdir(mode=0o700)
    return directory / ".flwr"
