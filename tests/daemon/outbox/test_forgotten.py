"""Forgotten source IDs: the file holds their hashes, and no body of them is sent."""

import contextlib
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
        b"".join(line.encode(errors="surrogateescape") + b"\n" for line in lines)
    )


def hash_of(source):
    """Give the hash by the letter of the design."""
    return hashlib.sha256(source.encode()).hexdigest()


@pytest.mark.parametrize("others", [[], [hash_of(OTHER)], ["", " # "], ["x" * 100_000], ["\udcff"]])
def test_a_forgotten_source_is_held_back(home, host, others):
    """Plain events and bursts of it, and of no other, whatever else the file says."""
    assert not forgotten.holds(Home(home), body(MINE))
    note(home, *others, hash_of(MINE))
    third = "22222222-2222-4222-8222-222222222222"
    for source in (MINE, third):
        for data in (body(source), burst_of(records.series(3, source=source))):
            assert forgotten.holds(Home(home), data) is (source == MINE)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"context":[]}', b"\xff", b'{"context":{}}', None, 7, [MINE], {}]
)
def test_a_body_without_a_source_is_not_held(home, host, data):
    """Nothing is raised for a damaged one."""
    note(home, hash_of(MINE))
    assert not forgotten.holds(Home(home), data if isinstance(data, bytes) else body(data))


def test_a_file_that_cannot_be_read_lets_nothing_out(home, host):
    """Nothing is sent while it is unknown which IDs are forgotten."""
    Home(home).forgotten.mkdir()
    with contextlib.suppress(OSError, TelemetryError):
        assert forgotten.holds(Home(home), body(MINE))


def test_an_id_is_noted_once(home, host):
    """A line of its own for each, also after a line that a full disk has torn, and none that tells an ID."""
    Home(home).forgotten.write_text("abc")
    for source in ("a", "b", "a"):
        forgotten.add(Home(home), source)
    noted = Home(home).forgotten.read_text()
    assert noted.splitlines() == ["abc", hash_of("a"), hash_of("b")]
    assert forgotten.hashes(Home(home)) >= {hash_of("a"), hash_of("b")}


def test_a_note_that_another_machine_wrote_over_is_written_again(home, host, monkeypatch):
    """Two machines may append to the file at the same offset."""
    real, calls = forgotten.append_line, []

    def append_line(path, line):
        real(path, line)
        calls.append(path)
        if len(calls) == 1:
            note(home, hash_of(OTHER))

    monkeypatch.setattr(forgotten, "append_line", append_line)
    forgotten.add(Home(home), MINE)
    assert forgotten.hashes(Home(home)) == {hash_of(MINE), hash_of(OTHER)}
