"""Forgotten source IDs: the file holds their hashes, and no body of them is sent."""

import hashlib

import pytest

from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from flwr_telemetryd.outbox import forgotten
from tests.daemon.conftest import burst_of
from tests.support import records

MINE, OTHER = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1", "11111111-1111-4111-8111-111111111111"


def body(source):
    return codec.dumps(to_wire(records.sample(source=source))).encode()


def note(home, *lines):
    Home(home).forgotten.write_bytes(
        b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
    )


def hash_of(source):
    return hashlib.sha256(source.encode()).hexdigest()


def test_the_hash_tells_no_id():
    """It is the lower-case hex SHA-256 of the ID's text."""
    assert forgotten.hash_of(MINE) == hash_of(MINE)


@pytest.mark.parametrize("others", [[], [hash_of(OTHER)], ["", " # "], ["x" * 100_000]])
def test_a_forgotten_source_is_held_back(home, host, others):
    """Plain events and bursts of it, and of no other, whatever else the file says."""
    assert not forgotten.holds(Home(home), body(MINE))
    note(home, *others, hash_of(MINE))
    assert forgotten.holds(Home(home), body(MINE))
    assert forgotten.holds(Home(home), burst_of(records.series(3, source=MINE)))
    third = "22222222-2222-4222-8222-222222222222"
    assert not forgotten.holds(Home(home), body(third))
    assert not forgotten.holds(Home(home), burst_of(records.series(3, source=third)))


@pytest.mark.parametrize("source", ["", None, 7, [MINE], {}])
def test_a_body_without_a_source_is_not_held(home, host, source):
    """It carries no ID that could have been forgotten."""
    note(home, hash_of(MINE))
    assert not forgotten.holds(Home(home), body(source))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"context":[]}', b"\xff", b'{"context":{}}'])
def test_a_damaged_body_is_not_held(home, host, data):
    note(home, hash_of(MINE))
    assert not forgotten.holds(Home(home), data)


def test_one_broken_byte_hides_no_forgotten_id(home, host):
    note(home, b"\xff", hash_of(MINE))
    assert forgotten.holds(Home(home), body(MINE))


def test_a_file_that_cannot_be_read_lets_nothing_out(home, host):
    """Nothing is sent while it is unknown which IDs are forgotten."""
    Home(home).forgotten.mkdir()
    try:
        held = forgotten.holds(Home(home), body(MINE))
    except (OSError, TelemetryError):
        held = True
    assert held


def test_an_id_is_noted_once(home, host):
    for source in ("a", "b", "a"):
        forgotten.add(Home(home), source)
    noted = Home(home).forgotten.read_text()
    assert noted.splitlines() == [forgotten.hash_of("a"), forgotten.hash_of("b")]
    assert forgotten.hashes(Home(home)) == set(noted.split())


def test_a_torn_line_before_costs_nothing(home, host):
    """A full disk may tear a line; the next ID has a line of its own."""
    Home(home).forgotten.write_text("abc")
    forgotten.add(Home(home), "a")
    assert forgotten.hash_of("a") in forgotten.hashes(Home(home))
