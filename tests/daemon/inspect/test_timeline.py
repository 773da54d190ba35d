"""The timeline: workloads as lanes, with their state and their company, from whatever bodies hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry.record import to_wire
from flwr_telemetryd.inspect import drawing
from flwr_telemetryd.inspect.timeline import Builder
from tests.support import records, strategies
from tests.support.bodies import coalesce
from tests.support.strategies import tried

S = 1_000_000


def body(cluster, event_type, at_s, **details):
    return to_wire(records.sample(details, event_type=event_type, cluster=cluster, date_us=at_s * S))


def built(*events, stage="sent"):
    builder = Builder()
    for event in events:
        builder.add(stage, event)
    return builder.timeline()


SIGTERM = 3  # in Flower's numbers
ENDED = [{}, {"success": True}, *({"exit_code": code} for code in (0, SIGTERM, "201"))]
FAILED = [{"success": False}, {"exit_code": 201}]


@pytest.mark.parametrize(
    ("leaves", "state"),
    [([], "open"), *(([leave], "ended") for leave in ENDED), *(([leave], "failed") for leave in FAILED)],
)
def test_the_state_of_a_workload(leaves, state):
    found = built(body("c", "RUN_ENTER", 1), *(body("c", "RUN_LEAVE", 2, **details) for details in leaves))
    assert [(lane.state, list(lane.kinds)) for lane in found.lanes] == [(state, ["RUN"])]


def test_a_burst_gives_what_its_events_give_alone():
    events = [body(f"c{n}", "RUN_LEAVE", 10 + n, success=n > 0, run=str(n)) for n in range(3)]
    (whole,) = map(json.loads, coalesce(events))
    together, alone = built(whole), built(*events)
    assert together.lanes == alone.lanes
    assert [burst.events for burst in together.bursts] == [3]
    assert alone.bursts == []
    assert [lane.state for lane in together.lanes] == ["failed", "ended", "ended"]


@tried(200)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), min_size=1, max_size=12))
def test_company_is_counted_as_one_would_with_a_pencil(spans):
    spans = [(a, a + b) for a, b in spans]
    found = built(*(body(f"c{n:02}", "A", at) for n, span in enumerate(spans) for at in span))
    by_name = {lane.name: lane.together for lane in found.lanes}
    for n, (a, b) in enumerate(spans):
        others = [span for m, span in enumerate(spans) if m != n]
        assert by_name[f"c{n:02}"] == sum(begin <= b and end >= a for begin, end in others)
    assert found.at_once == max(sum(a <= at <= b for a, b in spans) for at in range(42))


def test_many_workloads_are_folded():
    some = [body(f"c{n}", kind, 30 * n) for n in range(1200) for kind in ("RUN_ENTER", "RUN_LEAVE")]
    found = built(*some[:1000])
    assert (len(found.lanes), found.folded_s) == (500, 0)
    found = built(*some[:1002])
    assert (len(found.lanes), found.folded_s) == (251, 60)
    assert sum(lane.workloads for lane in found.lanes) == 501
    found = built(*(body(f"c{n}", "PING", 3600 * n) for n in range(2000)))
    assert (len(found.lanes), found.folded_s) == (84, 86_400)


@tried(200)
@given(strategies.json_values() | strategies.events.map(to_wire))
def test_damage_gives_nothing_and_raises_nothing(value):
    found = built(value) if isinstance(value, dict) else built({"context": value})
    assert len(found.lanes) <= 1


def test_only_what_is_late_enough():
    builder = Builder(since_us=5 * S)
    for at_s in (1, 5, 9):
        builder.add("spool", body("c", "PING", at_s))
    (lane,) = builder.timeline().lanes
    assert (lane.first_us, lane.events, lane.waiting_us) == (5 * S, 2, {5 * S, 9 * S})
    assert drawing.clock(-62_135_596_800 * S).lstrip("0").startswith("1-01-01 ")
