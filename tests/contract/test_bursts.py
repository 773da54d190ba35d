"""Section 5, "Wire, a burst": what becomes one body, how it looks, and that nothing is lost in it."""

import json

import pytest

from tests.support import homes, processes, records, wire

_MIB = 1024 * 1024
_START_US = 1_795_000_000_000_000


def _delivered(home, collector, events, **settings):
    """Deliver these events; whatever the bodies look like, they must give them back."""
    homes.configure(home, collector.url, **settings)
    homes.put(home, events)
    processes.deliver(home)
    assert wire.bag(map(wire.plain, collector.events())) == wire.bag(events)
    return list(collector.accepted.values())


def test_many_workloads_make_one_request(home, collector):
    for number in range(6):
        processes.spool_events(home, 2, {"run-id-hash": f"run {number}"})
    spooled = homes.spooled(home)
    processes.deliver(home)
    assert len(collector.requests) == 1
    assert wire.bag(map(wire.plain, collector.events())) == wire.bag(spooled)


def test_the_layout_of_a_burst(home, collector):
    """The body is the earliest event and `burst`: count, clusters, varying, and rows in order of time."""
    one, two = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    details = {"run-id-hash": "ab", "a": 7, "same": [1]}
    events = [
        records.sample({**details, "run-id-hash": "ef"}, cluster=two, date_us=_START_US + 20_011),
        records.sample(details, cluster=one, date_us=_START_US),
        records.sample({**details, "run-id-hash": "cd", "a": 8}, cluster=one, date_us=_START_US + 15_021),
    ]
    equal = [records.sample({"a": 1}, event_type="EQUAL", date_us=_START_US + n) for n in range(4)]
    told, same = sorted(
        map(json.loads, _delivered(home, collector, [*events, *equal])), key=str, reverse=True
    )
    burst = told.pop("burst")
    assert wire.plain(told) == events[1]
    assert (same["burst"]["varying"], len(same["burst"]["clusters"])) == ([], 4)
    assert same["burst"]["events"] == [[n, n] for n in range(4)]
    assert burst == {
        "count": 3,
        "clusters": [one, two],
        "varying": ["a", "run-id-hash"],
        "events": [[0, 0, 7, "ab"], [0, 15021, 8, "cd"], [1, 20011, 7, "ef"]],
    }


def test_bursts_can_be_switched_off(home, collector):
    bodies = _delivered(home, collector, records.series(5), bursts=False)
    assert len(bodies) == 5
    assert all("burst" not in json.loads(body) for body in bodies)


_DIFFERENT = {
    "type": [records.sample(), records.sample(event_type="OTHER")],
    "names": [records.sample({"a": 1}), records.sample({"b": 1})],
    "more names": [records.sample({"a": 1}), records.sample({"a": 1, "b": 1})],
    "source": [records.sample(), records.sample(source="00000000-0000-4000-8000-000000000000")],
    "partner": [records.sample(), records.sample(partner="00000000-0000-4000-8000-000000000000")],
    "flower": [
        records.sample(),
        records.sample(flower={"package_name": "flwr", "package_version": "1.40.0"}),
    ],
    "cores": [records.sample(), records.sample(hw={"cpu_count": 4})],
    "kind of number": [records.sample(hw={"cpu_count": 1}), records.sample(hw={"cpu_count": True})],
}


def test_different_events_do_not_share_a_body(home, collector):
    events = [
        {**event, "event_type": f"{name.upper().replace(' ', '_')}{event['event_type'].removeprefix('PING')}"}
        for name, pair in _DIFFERENT.items()
        for event in pair
    ]
    assert len(_delivered(home, collector, events)) == 2 * len(_DIFFERENT)


def test_odd_events_are_lossless(home, collector):
    """What Python calls equal, equal dates, late events, odd names and nested details: all come back."""
    values = [1, 1.0, True, 0, 0.0, -0.0, False, "", None, [], {}, [1], [1.0], {"x": 1}, {"x": True}, "1"]
    values += [2**63, 1e16, 10**16]
    cluster = "11111111-1111-4111-8111-111111111111"
    twin = records.sample({"burst": 1, "count": [{}], "": "x"}, cluster=cluster, date_us=_START_US)
    events = [
        *(twin, twin, twin),
        records.sample({"burst": 2, "count": [{}], "": "x"}, date_us=_START_US - 5),
        records.sample({"": "y", "count": {"a": None}, "burst": 1}, cluster=cluster, date_us=_START_US),
        records.sample({"a": 1, "b": 2}, date_us=_START_US + 86_400_000_000),
        records.sample({"b": 2, "a": 1}, date_us=_START_US),
        records.sample({"a": "ä🌸\u0000", "b": 2**64 - 1}, date_us=1),
        records.sample({"a": -(2**63), "b": [[[]]]}, date_us=0),
        *(records.sample({"a": value, "b": "same"}, date_us=_START_US + n) for n, value in enumerate(values)),
    ]
    _delivered(home, collector, events)


@pytest.mark.parametrize(("text", "count"), [("x" * 4000, 600), ("🌸" * 1500, 150)])
def test_large_bursts_are_split(home, collector, text, count):
    """Bodies stay under 1 MiB of ASCII, in which one character may take twelve bytes."""
    bodies = _delivered(
        home,
        collector,
        [records.sample({"n": n, "text": f"{n}{text}"}, date_us=_START_US + n) for n in range(count)],
    )
    assert 1 < len(bodies) <= 4
    assert max(map(len, bodies)) < _MIB


def test_events_of_many_segments_share_a_body(home, collector):
    """A batch takes all sealed segments, be one empty, and coalesces across them."""
    for number, count in enumerate((2, 2, 0, 2)):
        name = f"sealed-179500000000000000{number}-0a1b2c3d.msgpack"
        homes.put(home, records.series(count, start=10 * number), name=name)
    homes.put(home, records.series(2, start=6))
    processes.deliver(home)
    assert len(collector.requests) == 1
    assert wire.serials(collector.events()) == [0, 1, 6, 7, 10, 11, 30, 31]
