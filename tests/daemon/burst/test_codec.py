"""Coalescing is lossless: a body expands to exactly the events that went in."""

import json
import random
import uuid
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import packing, record
from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from flwr_telemetryd.burst.encoder import BurstEncoder
from flwr_telemetryd.burst.grouping import RecordGrouper
from tests.support import records, wire
from tests.support.bodies import coalesce
from tests.support.strategies import dates_us, json_values, lookalikes, packed, tried, words

MIB = 1024 * 1024

# Few names, types, sources and clusters, so that many events have something in common.
names = st.sampled_from(["a", "b", "run-id-hash", ""]) | words(max_size=3)
events = st.builds(
    records.sample,
    st.dictionaries(names, lookalikes | json_values(), max_size=3),
    event_type=st.sampled_from(["PING", "PONG"]),
    cluster=st.sampled_from(["c1", "c2", ""]) | words(max_size=3),
    source=st.sampled_from(["s1", "s2"]),
    date_us=dates_us | st.integers(1_795_000_000_000_000, 1_795_000_000_000_003),
    hw=st.sampled_from([{"cpu_count": 8}, {"cpu_count": 8.0}, {"cpu_count": True}, {}, None]),
)
crowds = st.lists(events, max_size=12)


def bag(events):
    """Give a multiset that tells 1, 1.0 and True apart, and the order of names."""
    return Counter(map(packed, events))


def check(body):
    """Hold a body against everything that the design says of its form; give it decoded."""
    assert len(body) < MIB
    text = body.decode("ascii")
    whole = json.loads(text)
    assert json.dumps(whole, separators=(",", ":")) == text
    if "burst" not in whole:
        assert list(whole) == ["event_type", "event_details", "context"]
        return whole
    burst = whole["burst"]
    assert list(whole) == ["event_type", "event_details", "context", "burst"]
    assert list(burst) == ["count", "clusters", "varying", "events"]
    rows = burst["events"]
    assert burst["count"] == len(rows) == codec.count(whole) > 1
    assert len(set(burst["clusters"])) == len(burst["clusters"]) > 0
    assert {row[0] for row in rows} == set(range(len(burst["clusters"])))
    assert burst["varying"] == sorted(set(burst["varying"]))
    assert set(burst["varying"]) <= set(whole["event_details"])
    assert all(earlier[1] <= later[1] for earlier, later in pairwise(rows))
    own = [whole["event_details"][name] for name in burst["varying"]]
    assert packed(rows[0]) == packed([0, 0, *own])
    assert burst["clusters"][0] == whole["context"]["cluster"]
    for index in range(len(burst["varying"])):
        assert len({packed(row[2 + index]) for row in rows}) > 1
    return whole


def group_of(event):
    context = {name: value for name, value in event["context"].items() if name not in {"cluster", "date"}}
    return packed([event["event_type"], list(event["event_details"]), context])


@tried(150)
@given(crowds, st.booleans(), st.integers(0, 3))
def test_expanding_gives_back_exactly_what_went_in(crowd, bursts, twice):
    crowd = crowd + crowd[:twice]
    on_the_wire = [to_wire(event) for event in crowd]
    bodies = list(coalesce(on_the_wire, bursts=bursts))
    wholes = list(map(check, bodies))
    assert bag(event for body in bodies for event in codec.expand(body)) == bag(on_the_wire)
    assert bag(event for whole in wholes for event in codec.expand(whole)) == bag(on_the_wire)
    # The colleagues' reader, which was written from the design, agrees.
    assert bag(wire.expand_all(bodies)) == bag(on_the_wire)
    assert len(bodies) == (len(set(map(group_of, crowd))) if bursts else len(crowd))


@tried(100)
@given(crowds.flatmap(lambda crowd: st.tuples(st.just(crowd), st.permutations(crowd))))
def test_equal_events_make_equal_bodies(crowds):
    """In whatever order they come: so a restored backup is delivered under the keys of the first time."""
    one, other = [sorted(coalesce(map(to_wire, crowd))) for crowd in crowds]
    assert one == other


@tried(100)
@given(crowds.filter(bool))
def test_a_doubled_body_holds_each_event_twice(crowd):
    for body in coalesce(map(to_wire, crowd)):
        (whole,) = codec.doubled(body)
        check(whole)
        assert bag(codec.expand(whole)) == bag(codec.expand(body) * 2)


def _text(rng, size):
    """Give text of so many bytes, of which JSON makes up to six times as many."""
    return "".join(rng.choice('\0\x7f"\\aé') for _ in range(size))


def event_(details, date_us, cluster="c"):
    return records.sample(details, cluster=cluster, date_us=date_us)


LARGE = {
    "many clusters": lambda rng: [
        event_({}, rng.randrange(10**15), str(uuid.UUID(int=rng.getrandbits(128)))) for _ in range(20_000)
    ],
    "one value varies": lambda rng: [
        event_({"a": "ray", "run-id-hash": rng.randbytes(32).hex()}, n) for n in range(15_000)
    ],
    "big details": lambda rng: [event_({"a": _text(rng, 8000), "b": 1}, n) for n in range(120)],
    "biggest records": lambda _: [event_({"a": "\0" * 64_000}, -n) for n in range(12)],
    "varies late": lambda _: [
        event_({"same": "x" * 3000, "n": n, "late": int(n == 900)}, 1000 - n) for n in range(1000)
    ],
    "all vary at last": lambda _: [
        *(event_({"a": "x" * 7000}, n + 1) for n in range(2000)),
        event_({"a": "y"}, 0),
    ],
    "late long cluster": lambda _: [
        *(event_({"a": f"{n:04d}" * 500}, n + 1) for n in range(470)),
        *(event_({"a": str(n)}, -n, "\0" * 9000 + str(n)) for n in range(4)),
    ],
}


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_a_body_stays_under_1_mib(make):
    crowd = make(random.Random(1))
    assert all(len(record.pack(event)) <= packing.MAX_PAYLOAD_BYTES for event in crowd)
    on_the_wire = [to_wire(event) for event in crowd]
    bodies = list(coalesce(on_the_wire))
    for body in bodies:
        check(body)
    assert bag(event for body in bodies for event in codec.expand(body)) == bag(on_the_wire)
    plain = sum(len(codec.dumps(event)) for event in on_the_wire)
    assert len(bodies) <= 1 + 2 * plain // MIB


MANY = {
    "large details": lambda n: records.sample({f"name-{n}": "x" * 60_000}),
    "large contexts": lambda n: records.sample({}, cluster="c", hw={"cpu_count": n, "name": "x" * 60_000}),
    "text that is long in JSON": lambda n: records.sample({"a": "\0" * 8000 + str(n)}, cluster="c"),
}


@pytest.mark.parametrize("make", MANY.values(), ids=MANY)
def test_memory_is_bounded(make):
    """Bodies are given before the end, and nothing of them is held then."""
    coalescer, bodies = codec.Coalescer(), []
    for number in range(300):
        bodies += coalescer.add(make(number))
        held_bytes = sum(encoder.held_bytes for encoder in coalescer._encoders.values())
        assert coalescer._held_bytes == held_bytes <= codec.MAX_HELD_BYTES
    assert bodies
    bodies += coalescer.finish()
    assert sum(codec.count(json.loads(body)) for body in bodies) == 300


# One body: its size is known before it is written


def encoder_of(events, most_bytes=MIB):
    rows = [RecordGrouper({}).of_event(event) for event in events]
    encoder = BurstEncoder(rows[0][0])
    taken = 0
    for _, *row in rows:
        taken += encoder.add(*row, most_bytes) > 0
    return encoder, taken


varied = st.builds(
    records.sample,
    st.fixed_dictionaries({"a": json_values(), "b": st.sampled_from([1, "x" * 300])}),
    cluster=st.sampled_from(["c", "ä\0" * 20]),
    date_us=st.integers(0, 10**15),
)


@tried(150)
@given(st.lists(varied, min_size=1, max_size=12), st.integers(200, 3000))
def test_no_body_exceeds_its_bound_unless_it_is_one_event(events, most_bytes):
    encoder, taken = encoder_of(events, most_bytes)
    body = encoder.body()
    assert taken >= 1
    assert len(body) <= most_bytes or taken == 1
    assert json.loads(body).get("burst", {"count": 1})["count"] == taken


def test_a_value_that_changes_now_and_then_splits_no_burst():
    """A value that was equal in all rows is counted in each row from then on, and that may well fit."""
    events = [
        records.sample({"same": "x" * 600, "round": number // 2000}, cluster="c", date_us=number)
        for number in range(18_000)
    ]
    encoder, taken = encoder_of(events)
    assert taken == len(events)
    assert json.loads(encoder.body())["burst"]["varying"] == ["round"]
    assert len(encoder._values) == 9  # equal ones are held once
