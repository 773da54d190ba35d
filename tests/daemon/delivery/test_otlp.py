"""OTLP: each event becomes one log record, whatever it is, and the same bytes each time."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flwr_telemetry.context import FIELDS
from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst.codec import NotABodyError
from flwr_telemetryd.delivery import otlp
from flwr_telemetryd.delivery.otlp import MAPPING, MAX_PART_BYTES, MAX_RECORDS, render
from flwr_telemetryd.outbox.pieces import Refusal, divide, place_of
from tests.support import otlp as support
from tests.support import records, strategies, wire
from tests.support.bodies import coalesce


def requests(events, **options):
    """Give the requests for some records."""
    return [
        request
        for body in coalesce(map(to_wire, events), **options)
        for request in render(body, wire.key_of(body))
    ]


def found(events, **options):
    return [record for request in requests(events, **options) for record in support.records(request)]


def record_of(details=None, **fields):
    (record,) = found([records.sample(details, **fields)])
    return record


@given(st.lists(strategies.events, max_size=8), st.booleans())
@strategies.tried(50)
@example([records.sample({"n": 2**64 - 1, "x": [None, {"": 2**63}]}, date_us=-1)], True)
def test_the_records_of_coalesced_events_are_the_events(events, bursts):
    got = found(events, bursts=bursts)
    expected = [support.expected(to_wire(event)) for event in events]
    assert support.bag(map(support.without_own, got)) == support.bag(expected)
    uids = [record["attributes"]["log.record.uid"] for record in got]
    if bursts:  # otherwise a batch has equal events in one burst all the same
        assert len(set(uids)) == len(events)


def test_the_request_is_the_one_of_the_protocol():
    (request,) = requests(
        [records.sample({"run-id-hash": "ab", "n": 7, "share": 0.5}, event_type="PING", cluster="c")]
    )
    assert request.isascii()
    whole = json.loads(request)
    (logs,) = whole["resourceLogs"]
    (scope,) = logs["scopeLogs"]
    assert whole.keys() == {"resourceLogs"}
    assert logs.keys() == {"resource", "scopeLogs", "schemaUrl"}
    assert scope["scope"]["name"] == "flwr_telemetry"
    assert scope["schemaUrl"] == logs["schemaUrl"] == otlp.SCHEMA_URL
    (record,) = scope["logRecords"]
    assert record["timeUnixNano"] == record["observedTimeUnixNano"] == "1795000000123456000"
    assert (record["severityNumber"], record["eventName"]) == (9, "flower.ping")
    assert "body" not in record
    assert {"key": "flower.event.details.n", "value": {"intValue": "7"}} in record["attributes"]
    assert {"key": "flower.event.details.share", "value": {"doubleValue": 0.5}} in record["attributes"]


def test_the_uid_is_a_uuid_of_key_and_place():
    """It is made of nothing else, so a part that is sent again has the same ones."""
    uids = [otlp.uid("0" * 64, index) for index in range(1000)]
    assert len(set(uids)) == 1000
    form = r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert all(re.fullmatch(form, uid) for uid in uids)
    assert uids[0].replace("-", "")[:12] == wire.member_key("0" * 64, 0)[:12]


SIGTERM = 3  # a graceful end, says Flower
FINE = [{}, {"success": True, "exit_code": 0}, {"exit_code": SIGTERM}, {"exit_code": True, "success": 0}]
FINE += [{"exit_code": "600"}]
FAILED = [
    ({"exit_code": 600}, "600"),
    ({"exit_code": -1}, "-1"),
    ({"success": False}, "_OTHER"),
    ({"success": False, "exit_code": 201}, "201"),
    ({"success": False, "exit_code": 2}, "_OTHER"),
]


@pytest.mark.parametrize(("details", "error"), [*((details, None) for details in FINE), *FAILED])
def test_a_failure_has_its_severity_and_type(details, error):
    record = record_of(details)
    assert record["severityNumber"] == (9 if error is None else 17)
    assert record["attributes"].get("error.type") == error


SYSTEMS = {"Linux": "linux", "Darwin": "darwin", "Windows": "windows", "SunOS": "solaris", "Plan9": "plan9"}
MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "i686": "x86", "riscv64": "riscv64"}


@pytest.mark.parametrize(("system", "machine"), [*zip(SYSTEMS, MACHINES, strict=True)])
def test_systems_and_processors_have_the_names_of_the_conventions(system, machine):
    sample = records.sample()
    sample["context"]["platform"] |= {"system": system, "machine": machine}
    (record,) = found([sample])
    resource = record["resource"]
    assert (resource["os.type"], resource["host.arch"]) == (SYSTEMS[system], MACHINES[machine])


def test_parts_are_bounded_and_keep_the_order():
    """2,500 small events make three parts by their number; large ones make parts by their size."""
    events = records.series(2500)
    parts = [support.records(request) for request in requests(events)]
    assert [*map(len, parts)] == [MAX_RECORDS, MAX_RECORDS, 500]
    whole = [record["attributes"]["flower.event.details.n"] for part in parts for record in part]
    assert whole == [*range(2500)]
    large = [
        records.sample({"n": number, "text": f"{number}" * 1500}, cluster="c", date_us=number)
        for number in range(10, 99)
    ] * 3
    got = requests(large)
    assert max(map(len, got)) <= MAX_PART_BYTES
    assert len(got) < 4
    assert sum(len(support.records(request)) for request in got) == len(large)


def test_a_record_may_fill_a_part_to_the_last_byte(monkeypatch):
    (body,) = coalesce(map(to_wire, records.series(2)))
    (whole,) = render(body, "k")
    monkeypatch.setattr(otlp, "MAX_PART_BYTES", len(whole))
    assert render(body, "k") == [whole]
    monkeypatch.setattr(otlp, "MAX_PART_BYTES", len(whole) - 1)
    assert len(render(body, "k")) == 2
    monkeypatch.setattr(otlp, "MAX_PART_BYTES", 1)  # a single record is sent all the same
    assert len(render(body, "k")) == 2


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"event_type":"PING","event_details":{},"context":{}}', b'{"burst":{}}']
)
def test_what_is_no_body_is_told(body):
    with pytest.raises(NotABodyError):
        render(body, "k")


@given(st.lists(strategies.events, min_size=1, max_size=8), st.data())
@strategies.tried(20)
def test_the_pieces_of_a_refused_body_are_its_events(events, data):
    """Each event is in one piece, and a piece gives the records that were sent for it."""
    for body in coalesce(map(to_wire, events)):
        whole, key = wire.expand(body), wire.key_of(body)
        cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=4)))
        refusals = [
            Refusal(start, end - start, end - start, "no")
            for start, end in zip(cuts[::2], cuts[1::2], strict=False)
        ]
        pieces = [*divide(key, body, refusals)]
        assert wire.bag(wire.expand_all(piece.data for piece in pieces)) == wire.bag(whole)
        refused = sum(len(wire.expand(piece.data)) for piece in pieces if piece.reason)
        assert refused == sum(refusal.events for refusal in refusals)
        sent = [record for request in render(body, key) for record in support.records(request)]
        again = [
            record
            for piece in sorted(pieces, key=lambda piece: place_of(piece.name)[1])
            for request in render(piece.data, *place_of(piece.name))
            for record in support.records(request)
        ]
        assert again == sent


def test_the_fields_of_today_have_names_and_a_new_one_stands_under_its_path():
    sample = records.sample()
    sample["context"]["platform"]["byte_order"] = "little"
    sample["context"]["site"] = {"racks": 3}
    (record,) = found([sample])
    assert record["resource"]["flower.platform.byte_order"] == "little"
    assert record["resource"]["flower.site.racks"] == 3
    mapped = {row.field.removesuffix(".*") for row in MAPPING}
    named = [field.name for field in FIELDS if field.since == "0.1.0" and "burst." not in field.name]
    assert all(name in mapped or name.rpartition(".")[0] in mapped for name in named)
