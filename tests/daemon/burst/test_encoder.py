"""One body: its size is known before it is written, and equal values are held once."""

import json

from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetryd.burst.encoder import BurstEncoder
from flwr_telemetryd.burst.grouping import RecordGrouper
from tests.support import records
from tests.support.strategies import json_values, tried

MANY = 2**20


def encoder_of(events, most_bytes=MANY):
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


def test_equal_events_take_little_memory():
    encoder, taken = encoder_of([records.sample({"a": "x" * 1000})] * 20_000)
    assert len(encoder._values) == 1
    assert json.loads(encoder.body())["burst"]["count"] == taken == 20_000
