"""What is not decoded is what it would be if it were: the short way and the long way come to the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import record
from flwr_telemetryd import members
from flwr_telemetryd.members import Member, Members
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


def as_the_emitter_packs(event: dict[str, Any]) -> bytes:
    """Give the payload in the order of the emitter's."""
    context = dict(event["context"])
    before = {name: context.pop(name) for name in ("partner", "source", "cluster") if name in context}
    date_us = context.pop("date")
    parts = record.context_parts(before, context)
    head = record.event_head(event["event_type"])
    return record.assemble(head, record.pack(event["event_details"]), parts, date_us)


def told(member: Member) -> tuple[Any, ...]:
    """Give all that a member says, by bytes."""
    kind, found, cluster, date_us = member
    common = {name: value for name, value in kind.context.items() if name not in {"cluster", "date"}}
    return kind.event_type, kind.names, packed([list(kind.context), common]), found.texts, cluster, date_us


@tried(150)
@given(st.lists(st.tuples(events, st.booleans()), max_size=10), st.sampled_from([{}, HARDWARE]))
def test_both_ways_come_to_the_same(crowd: list[tuple[Any, bool]], hardware: dict[str, int]) -> None:
    """Whatever was seen before, however it is packed; and what belongs together is one object."""
    subject = Members(hardware)
    kinds: dict[bytes, members.Kind] = {}
    for event, ours in crowd:
        payload = as_the_emitter_packs(event) if ours else record.pack(event)
        member = subject.of_payload(payload)
        assert told(member) == told(Members(hardware).of_event(record.decode(payload)))
        assert kinds.setdefault(packed(told(member)[:3]), member[0]) is member[0]


@tried(250)
@given(events, events, st.data())
def test_what_is_no_event_is_none_on_either_way(
    known: dict[str, Any], event: dict[str, Any], data: st.DataObject
) -> None:
    """A payload that differs from a known one anywhere is what decoding it says."""
    subject = Members({})
    subject.of_payload(as_the_emitter_packs(known))
    payload = bytearray(
        as_the_emitter_packs({**event, "context": {**known["context"], "cluster": CLUSTERS[0]}})
    )
    start = data.draw(st.integers(0, len(payload)))
    end = data.draw(st.integers(start, min(start + 3, len(payload))))
    payload[start:end] = data.draw(
        st.binary(max_size=3) | st.sampled_from([b"\xc0", b"\x80", b"\x90", b"\xff"])
    )
    try:
        expected = told(subject.of_event(record.decode(bytes(payload))))
    except record.NotAnEventError:
        with pytest.raises(record.NotAnEventError):
            subject.of_payload(bytes(payload))
    else:
        assert told(subject.of_payload(bytes(payload))) == expected


@pytest.mark.parametrize("beyond", [record.MIN_DATE_US - 1, record.MAX_DATE_US + 1, -(2**63), 2**63 - 1])
def test_a_date_beyond_the_calendar_is_no_event(beyond: int) -> None:
    """Though all its other bytes are known."""
    subject, event = Members({}), records.sample({}, cluster=CLUSTERS[0])
    subject.of_payload(as_the_emitter_packs(event))
    event["context"]["date"] = beyond
    with pytest.raises(record.NotAnEventError):
        subject.of_payload(as_the_emitter_packs(event))


def test_equal_events_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first, neither the whole is decoded nor its details; a second kind costs its details."""
    calls = []
    monkeypatch.setattr(
        record, "decode", lambda payload, real=record.decode: calls.append(1) or real(payload)
    )
    real_unpack = members.msgpack.unpackb
    monkeypatch.setattr(members.msgpack, "unpackb", lambda data: calls.append(2) or real_unpack(data))
    subject = Members(HARDWARE)
    for number in range(4):
        event = records.sample({"n": 1}, cluster=CLUSTERS[number % 3], date_us=number)
        subject.of_payload(as_the_emitter_packs(event))
    assert calls.count(1) == 1
    calls.clear()
    event = records.sample({"n": 2}, cluster=CLUSTERS[0])
    subject.of_payload(as_the_emitter_packs(event))
    assert calls == [2]


def test_memory_does_not_grow_with_a_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Details that are all different, and contexts of many hosts, are forgotten again."""
    monkeypatch.setattr(members, "_MAX_PACKED_BYTES", 10_000)
    subject = Members({})
    for number in range(200):
        event = records.sample({"n": number}, cluster=CLUSTERS[0], hw={"cpu_count": number})
        subject.of_payload(as_the_emitter_packs(event))
        event = records.sample({"m": number}, cluster=CLUSTERS[0])
        subject.of_payload(as_the_emitter_packs(event))
        assert len(subject._packed) < 25
        assert len(subject._shapes) <= 16
    assert len(subject._details) > 100
    subject.forget()
    assert not subject._details
    assert not subject._kinds
    assert not any(shape.kinds for shape in subject._shapes)
