"""The grouper: the row of a cached payload is the row that decoding gives."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import packing, record
from flwr_telemetryd.burst import grouping
from flwr_telemetryd.burst.grouping import RecordGrouper
from tests.support import records
from tests.support.strategies import dates_us, details, packed, tried, words

HARDWARE = {"memory_gib": 16}
CLUSTERS = [f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc"]

few = st.sampled_from([{}, {"n": 1}, {"n": 1.0}, {"n": True}, {"a": "§context", "event_details": {"b": []}}])
events = st.builds(
    records.sample,
    few | details(),
    event_type=st.sampled_from(["PING", "P" * 31, "P" * 32, "P" * 64, "íevent_details"]),
    cluster=st.sampled_from(CLUSTERS) | st.text("ä", min_size=18, max_size=18) | words(),
    date_us=dates_us,
    hw=st.sampled_from([{"cpu_count": 8}, {"cpu_count": 8.0}, None]),
)
events = events | events.map(records.of_datasets)


def as_the_emitter_packs(event):
    context = dict(event["context"])
    before = {name: context.pop(name) for name in ("partner", "source", "cluster") if name in context}
    date_us = context.pop("date")
    parts = packing.context_parts(before, context)
    head = packing.event_head(event["event_type"])
    return packing.assemble(head, record.pack(event["event_details"]), parts, date_us)


def parts_of(row):
    key, values, cluster, date_us = row
    return key.event_type, key.names, packed(list(key.context.items())), values, cluster, date_us


@tried(150)
@given(st.lists(st.tuples(events, st.booleans()), max_size=10), st.sampled_from([{}, HARDWARE]))
def test_both_ways_come_to_the_same(crowd, hardware):
    subject = RecordGrouper(hardware)
    keys = {}
    for event, ours in crowd:
        payload = as_the_emitter_packs(event) if ours else record.pack(event)
        row = subject.of_payload(payload)
        assert parts_of(row) == parts_of(RecordGrouper(hardware).of_event(record.decode(payload)))
        assert keys.setdefault(packed(parts_of(row)[:3]), row[0]) == row[0]
    assert len(set(keys.values())) == len(keys)


def test_every_byte_counts():
    subject = RecordGrouper({})
    known = as_the_emitter_packs(records.sample({"n": 1}, cluster=CLUSTERS[0]))
    subject.of_payload(known)
    for place, old in enumerate(known):
        for new in (old ^ 1, old ^ 0x80, 0xC0):
            payload = known[:place] + bytes([new]) + known[place + 1 :]
            try:
                expected = parts_of(subject.of_event(record.decode(payload)))
            except record.NotAnEventError:
                with pytest.raises(record.NotAnEventError):
                    subject.of_payload(payload)
            else:
                assert parts_of(subject.of_payload(payload)) == expected


NO_JSON = [float("nan"), b"", [b""], msgpack.Timestamp(1), {"a": {b"b": 1}}]
NO_DATES = [packing.MIN_DATE_US - 1, packing.MAX_DATE_US + 1, -(2**63), 2**63 - 1]


@pytest.mark.parametrize(
    ("value", "date_us"), [*((value, 1) for value in NO_JSON), *(({}, us) for us in NO_DATES)]
)
def test_what_json_or_the_calendar_cannot_say_is_no_event(value, date_us):
    """Though all other bytes are known."""
    subject, event = RecordGrouper({}), records.sample({}, cluster=CLUSTERS[0])
    subject.of_payload(as_the_emitter_packs(event))
    event["context"]["date"] = date_us
    payload = as_the_emitter_packs(event)
    payload = payload.replace(b"\xadevent_details\x80", b"\xadevent_details" + packed({"n": value}), 1)
    for read in (record.decode, subject.of_payload):
        with pytest.raises(record.NotAnEventError):
            read(payload)


def _packed(details=None, **fields):
    return as_the_emitter_packs(records.sample(details, **{"cluster": CLUSTERS[0], **fields}))


def _elsewhere(cluster, date_us):
    return {"§cluster": cluster, "cluster": cluster, "date": -(2**40) + date_us}


def _of_a_probe(number):
    """The real cluster and date are those of a probe, and packed in another way."""
    probe, date_us = grouping._PROBES[0]
    payload = _packed(cluster=probe.decode(), date_us=date_us, hw=_elsewhere(probe.decode(), number))
    return payload.replace(b"\xd9\x24" + probe, b"\xda\x00\x24" + probe, 1)


def _context_first(number):
    """The details end like a context, and the context stands before them."""
    event = records.sample({}, cluster=CLUSTERS[1], date_us=5)
    inner = {**event["context"], "cluster": CLUSTERS[number]}
    before = {name: inner.pop(name) for name in ("partner", "source", "cluster")}
    date_us = inner.pop("date")
    parts = packing.context_parts(before, inner)
    head = b"\x83" + record.pack("context") + record.pack(event["context"])
    head += record.pack("event_type") + record.pack("PING") + record.pack("event_details") + b"\x81"
    return packing.assemble(head, b"", parts, date_us + number)


LOOKALIKES = {
    "in details": lambda number: _packed(_elsewhere(CLUSTERS[number], number), date_us=number),
    "behind the date": lambda number: _packed(hw=_elsewhere(CLUSTERS[number], number)),
    "of a probe": _of_a_probe,
    "context first": _context_first,
}


@pytest.mark.parametrize("make", LOOKALIKES.values(), ids=LOOKALIKES)
def test_a_lookalike_of_cluster_and_date(make):
    subject = RecordGrouper({})
    for number in (0, 1, 2, 0):
        payload = make(number)
        assert parts_of(subject.of_payload(payload)) == parts_of(subject.of_event(record.decode(payload)))


def test_equal_events_are_not_decoded(monkeypatch):
    """The first event costs two probes and its details. Equal ones cost nothing, others their details."""
    calls, real_unpack = [], grouping.msgpack.unpackb
    monkeypatch.setattr(record, "decode", lambda _payload: calls.append(1))
    monkeypatch.setattr(grouping.msgpack, "unpackb", lambda data: calls.append(2) or real_unpack(data))
    subject = RecordGrouper(HARDWARE)
    for number in range(4):
        subject.of_payload(_packed({"n": 1}, cluster=CLUSTERS[number % 3], date_us=number))
    assert calls == [2, 2, 2]
    calls.clear()
    subject.of_payload(_packed({"n": 2}))
    assert calls == [2]


MANY = {
    "names": (4000, lambda n: records.sample({"n": n, f"name-{n}": "x"}, hw={"cpu_count": n % 1000})),
    "bytes that are long in JSON": (100, lambda n: records.sample({"a": "\0" * 60_000, "n": n})),
}


@pytest.mark.parametrize(("count", "make"), MANY.values(), ids=MANY)
def test_memory_does_not_grow_with_a_spool(count, make):
    subject, most = RecordGrouper({}), 0
    for number in range(count):
        subject.of_payload(as_the_emitter_packs(make(number)))
        known = [values for _, rows in subject._cache.values() for _, values in rows.values()]
        most = max(most, len(known))
        assert max(sum(map(len, known)), subject._cached_bytes) <= grouping._MAX_CACHED_BYTES
    assert 1 < most < 3000
