"""Whose spools a sidecar serves: what waits, and which of the other hosts nobody else looks after."""

import os

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.outbox import backlog
from flwr_telemetryd.sidecar import adoption
from tests.support import homes, records

NOW_S = 1_795_000_000.0
AFTER_S = 120.0


def _adoptable(home):
    found = adoption.adoptable(Home(home), homes.host_name(), AFTER_S, lambda: NOW_S)
    return sorted(host.name for host in found)


@pytest.mark.parametrize(
    ("age_s", "adopted"),
    [
        (0, False),
        (119, False),
        (120, True),
        (1e8, True),
        (-60, False),
        (-3600, False),
        (-3601, True),
        (-1e8, True),
    ],
)
def test_the_age_of_another_hosts_spool(home, age_s, adopted):
    """Minutes ahead are a clock of another host; years ahead are a clock that was set back since."""
    segment = homes.put(home, records.series(1), host_of="other")
    homes.put(home, records.series(1))
    for path in (segment, segment.parent):
        os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    assert _adoptable(home) == (["other"] if adopted else [])


@pytest.mark.parametrize(("asked", "adopted"), [(False, []), (True, ["other"])])
def test_a_host_that_asks_for_delivery(home, asked, adopted):
    """A service hears it; a sidecar on demand leaves what grows to who is there."""
    spool = homes.put(home, records.series(1), host_of="other").parent
    (spool / "flush").touch()
    for path in (*spool.iterdir(), spool):
        os.utime(path, (NOW_S, NOW_S))
    found = adoption.adoptable(Home(home), homes.host_name(), AFTER_S, lambda: NOW_S, if_asked=asked)
    assert [host.name for host in found] == adopted


def test_nobody_is_asked_for_the_time_where_nothing_waits(home):
    """A look at idle hosts touches no file."""
    homes.put_bytes(home, b"", host_of="other")

    def now():
        raise AssertionError

    assert list(adoption.adoptable(Home(home), homes.host_name(), AFTER_S, now)) == []


@pytest.mark.parametrize(
    ("place", "waits"),
    [
        ("spool/events.msgpack", True),
        ("spool/sealed-0000000000000000001-00000000.msgpack", True),
        ("spool/flush", False),
        ("work/b.0/x", True),
        ("outbox/b/k.json", True),
        ("outbox/b/k.split", True),
        ("outbox/b/stray", False),
        ("sent/2026-11-22.jsonl", False),
    ],
)
def test_what_waits(host, place, waits):
    """A segment, an unfinished batch or a body does."""
    path = host.root / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert backlog.anything_waits(host) is waits
