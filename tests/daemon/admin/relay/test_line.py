"""A line of a file that anybody may have written: nothing in it is believed."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry.record import to_wire
from flwr_telemetryd.admin.relay.line import body_of
from flwr_telemetryd.burst import codec
from tests.support import records
from tests.support.bodies import coalesce
from tests.support.strategies import events, tried

EVENTS = [to_wire(event) for event in records.series(3)]
(BURST,) = map(json.loads, coalesce(EVENTS))
PLAIN = codec.dumps(EVENTS[0])


@tried(60)
@given(st.lists(events, min_size=1, max_size=6), st.booleans())
def test_every_body_of_a_sidecar_is_a_body(some, bursts):
    for body in coalesce(map(to_wire, some), bursts=bursts):
        assert body_of(body) == json.loads(body)


def burst(**changes):
    return codec.dumps({**BURST, "burst": {**BURST["burst"], **changes}})


ROWS, CLUSTERS = BURST["burst"]["events"], BURST["burst"]["clusters"]
FIRST = ROWS[0]
NO_BURSTS = {
    **{f"count {count}": burst(count=count) for count in (10**9, 2, 4, 0, -3, 3.0, True, "3", None, [3])},
    "no rows": burst(events=[]),
    "no rows, counted": burst(count=0, events=[]),
    "no list of rows": burst(events={"0": 1, "1": 2, "2": 3}),
    "empty rows": burst(events=[[], [], []]),
    "rows that are text": burst(events=["abc", "abc", "abc"]),
    "a value too many": burst(events=[FIRST, [*FIRST, 1], FIRST]),
    "a value too few": burst(events=[FIRST, FIRST[:-1], FIRST]),
    **{
        f"cluster {index!r}": burst(events=[FIRST, [index, *FIRST[1:]], FIRST])
        for index in (-1, len(CLUSTERS), 10**30, True, 0.0, "0", None)
    },
    **{
        f"time {time!r}": burst(events=[FIRST, FIRST, [FIRST[0], time, *FIRST[2:]]])
        for time in (-1, 10**18, 2**63, False, 0.5, "1", None)
    },
    "times in no order": burst(events=[FIRST, [0, 9, *FIRST[2:]], [0, 8, *FIRST[2:]]]),
    "another head": burst(events=[[0, 0, "other"], *ROWS[1:]]),
    "an unknown name": burst(varying=["x"]),
    "names that are no text": burst(varying=[1]),
    "no list of names": burst(varying="n"),
    "clusters that are no text": burst(clusters=[1] * len(CLUSTERS)),
    "no clusters": burst(clusters=[]),
    "clusters twice": burst(clusters=[CLUSTERS[0], CLUSTERS[0]]),
    "a further name": burst(more=1),
    "no burst": codec.dumps({**BURST, "burst": None}),
    "no date": codec.dumps({**BURST, "context": {"cluster": CLUSTERS[0]}}),
    "a date that is none": codec.dumps({**BURST, "context": {**BURST["context"], "date": "today"}}),
}


def details(text):
    return PLAIN.replace('"event_details":{', '"event_details":{"x":' + text + ",")


NO_BODIES = NO_BURSTS | {
    **{text[:20]: details(text) for text in ("NaN", "-Infinity", "1e999", str(2**64), "9" * 9999)},
    "a lone surrogate": details(r'"\ud800"'),
    "nested deep": details("[" * 200 + "]" * 200),
    "nested very deep": details("[" * 300_000 + "]" * 300_000),
    "a name twice": PLAIN.replace('"source":', '"source":"other","source":'),
    "a burst twice": burst()[:-1] + ',"burst":{"count":1}}',
    "a type of another form": PLAIN.replace("PING", "ping"),
    "a long type": PLAIN.replace("PING", "P" * 65),
    "space around": f" {PLAIN}",
    "too long": details('"' + "x" * codec.MAX_BODY_BYTES + '"'),
    "not ASCII": details('"ä"'),
}


@pytest.mark.parametrize("line", NO_BODIES.values(), ids=NO_BODIES)
def test_what_is_not_what_it_claims_or_may_be_understood_differently_is_no_body(line):
    assert body_of(line.encode()) == {}


@pytest.mark.parametrize("filling", ["{}", "[0]"])
def test_the_memory_for_a_line_is_bounded(filling):
    """A megabyte of the smallest values takes the most."""
    values = ",".join([filling] * ((codec.MAX_BODY_BYTES - 1000) // (len(filling) + 1)))
    tracemalloc.start()
    try:
        assert body_of(details(f"[{values}]").encode())
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()
