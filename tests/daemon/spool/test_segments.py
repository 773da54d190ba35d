"""Sealing and the names of segments: in order of time, and never mistaken for one another."""

import fcntl
import os
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.locks import time as time_
from flwr_telemetryd.spool import quarantine, segments
from flwr_telemetryd.spool.locks import SEAL_WAIT_S
from tests.support import homes, records
from tests.support.faults import amid, descriptors, no_locks
from tests.support.strategies import tried

_DIGITS = "84e8796900000007"  # eight random digits, and the offset
OURS = f"0000000000000000001-{_DIGITS}{zlib.crc32(_DIGITS.encode()):08x}"


@pytest.fixture
def host(home):
    homes.put(home, [records.sample()])
    return Home(home).host()


@tried(200)
@given(st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
def test_a_name_tells_where_to_read_on(now_ns, offset):
    name = segments.sealed_name(now_ns, offset)
    assert segments.start_offset(name) == offset
    assert segments.is_sealed(name)
    time, hexadecimal = name.removeprefix("sealed-").removesuffix(".msgpack").split("-")
    assert (int(time), len(time)) == (now_ns, 19)
    assert len(hexadecimal) == (24 if offset else 8)
    assert set(hexadecimal) <= set("0123456789abcdef")


@tried(100)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=5))
def test_names_are_in_order_of_time(times):
    names = [segments.sealed_name(now_ns) for now_ns in times]
    assert [int(name[7:26]) for name in sorted(names)] == sorted(times)
    assert segments.sealed_name(-1)[7:26] == "0" * 19
    assert len({segments.sealed_name(1) for _ in range(50)}) == 50


ALMOST = [f"{OURS}0", OURS[:-1], OURS[:-1] + ("1" if OURS.endswith("0") else "0"), OURS.upper()]
ALMOST += ["1", f"1-{'z' * 16}{zlib.crc32(b'z' * 16):08x}", "1-" + "\udcff" * 24]


@pytest.mark.parametrize("name", ["events.msgpack", *(f"sealed-{almost}.msgpack" for almost in ALMOST)])
def test_a_name_that_is_almost_one_of_ours(name):
    assert segments.start_offset(f"sealed-{OURS}.msgpack") == 7
    assert segments.start_offset(name) == 0


def test_seal_renames_the_open_segment(home, host):
    """A writer may be about to write to an empty one, which stays."""
    inode, before = host.events.stat().st_ino, descriptors()
    sealed = segments.seal(host, 5)
    assert sealed.stat().st_ino == inode
    assert segments.sealed_segments(host) == [sealed]
    assert not host.events.exists()
    assert segments.seal(host, 6) is None
    homes.put_bytes(home, b"")
    assert segments.seal(host, 7) is None
    assert host.events.exists()
    assert descriptors() == before


@pytest.mark.parametrize("locks", [True, False])
def test_race_6_two_sidecars_seal_at_once(home, host, locks, monkeypatch):
    """Race 6: one rename succeeds, the others find nothing, whether locks work or not, also at the rename."""
    if not locks:
        no_locks(monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda number: segments.seal(host, number), range(8)))
    assert sum(path is not None for path in sealed) == 1
    assert len(segments.sealed_segments(host)) == 1
    homes.put(home, [records.sample()])
    amid(monkeypatch, host.events.unlink, "rename")
    assert segments.seal(host, 8) is None


@pytest.mark.parametrize("is_stopped", [True, False])
def test_race_7_a_stopped_writer_does_not_keep_the_segment_open(host, monkeypatch, is_stopped):
    """Race 7: the sealer waits for a writer, SEAL_WAIT_S by the clock, then renames without the lock."""
    now_s, polls = [0.0], []
    monkeypatch.setattr(time_, "monotonic", lambda: now_s[0])

    def sleep(seconds):
        now_s[0] += seconds
        polls.append(host.events.exists())
        if len(polls) == 3 and not is_stopped:
            fcntl.flock(writer, fcntl.LOCK_UN)

    monkeypatch.setattr(time_, "sleep", sleep)
    with host.events.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        assert segments.seal(host, 5) is not None
    assert all(polls)
    assert now_s[0] == pytest.approx(SEAL_WAIT_S, rel=0.1) if is_stopped else len(polls) == 3


KINDS = {"link": lambda path: path.symlink_to("/etc/hostname"), "fifo": os.mkfifo, "directory": os.mkdir}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_something_else_in_a_segments_place_is_not_sealed_and_quarantined(home, host, make):
    """It is not opened. A plain segment stays, and a missing one is an error."""
    host.events.unlink()
    make(host.events)
    with pytest.raises((OSError, TelemetryError)):
        segments.seal(host, 5)
    assert segments.sealed_segments(host) == []
    segment = homes.put_bytes(home, b"x", name="sealed-1.msgpack")
    before = descriptors()
    with quarantine.opened_segment(host, segment) as descriptor:
        assert os.read(descriptor, 9) == b"x"
    segment.unlink()
    with pytest.raises(FileNotFoundError), quarantine.opened_segment(host, segment):
        pass
    make(segment)
    with quarantine.opened_segment(host, segment) as descriptor:
        assert descriptor is None
    assert os.listdir(host.damaged) == [segment.name]
    assert descriptors() == before
