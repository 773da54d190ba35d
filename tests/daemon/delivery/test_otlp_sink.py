"""OTLP over HTTP: what each answer means for a body and its parts. Every answer is that of a real server."""

import functools
import gzip
import json

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetry.settings import DEFAULT_URL
from flwr_telemetryd.delivery import otlp
from flwr_telemetryd.delivery.otlp_sink import rejected
from flwr_telemetryd.delivery.outcome import Delivered, PartSent, Refused, Retry
from tests.daemon.delivery.conftest import Server, sink_for
from tests.daemon.delivery.test_http import RAW
from tests.support import otlp as support
from tests.support import records, wire
from tests.support.bodies import coalesce
from tests.support.collector import Answer

PARTIAL = '{"partialSuccess":{"rejectedLogRecords":%s,"errorMessage":"too old"}}'


def body_of(count, **fields):
    (body,) = coalesce(map(to_wire, records.series(count, **fields)))
    return body


ONE, FOUR = body_of(1), body_of(4)


otlp_sink = functools.partial(sink_for, format="otlp")


def outcomes(sink, body):
    """Send a body until its collector has decided on it, or a part has to wait."""
    found = [sink.send(wire.key_of(body), body)]
    while isinstance(found[-1], PartSent):
        found.append(sink.send(wire.key_of(body), body))
    return found


def send(collector, body, **settings):
    with otlp_sink(collector.url, **settings) as sink:
        return outcomes(sink, body)[-1]


def records_of(request):
    return support.records(support.body_of(request))


def text_of(text, status=200):
    return Answer(status, body=text.encode())


PARTIALS = ["0", '"0"', "-3", '"many"', "null", "true", "[1]", "1e999"]
SUCCESSES = [
    *map(text_of, ["{}", "", '{"partialSuccess":null}', '{"partialSuccess":{}}', '{"partialSuccess":[1]}']),
    *(text_of(PARTIAL % count) for count in PARTIALS),
    *map(text_of, ['{"partialSuccess":{"rejectedLogRecords"', "[" * 50_000, "<html>welcome</html>"]),
    *(text_of("", 202), Answer(204), Answer(200, body=b" " * 300_000)),
    Answer(200, {"Content-Type": "application/x-protobuf"}, b"\x0a\x05\x08\x03\xff\xfe"),
    Answer(200, {"Content-Encoding": "gzip"}, gzip.compress(b"{}", mtime=0)),
]


@pytest.mark.parametrize("answer", SUCCESSES, ids=lambda answer: repr(answer.body[:40]))
def test_success_is_delivered(collector, answer):
    collector.answer_with(answer)
    assert send(collector, FOUR) == Delivered(refusals=())
    assert len(collector.requests) == 1


@pytest.mark.parametrize("name", ["half_a_body", "half_a_chunk", "bad_gzip"])
def test_a_success_whose_text_breaks_is_delivered(name):
    with Server(RAW[name], closes=True) as server:
        assert send(server, ONE) == Delivered()


@pytest.mark.parametrize(("count", "refused"), [("1", 1), ('"3"', 3), ("4", 4), ("2.0", 2), ('"99"', 4)])
def test_a_partial_success_refuses_the_part(collector, count, refused):
    """The whole part is kept, because nobody says which records they are; it is never sent again."""
    collector.answer_with(text_of(PARTIAL % count))
    delivered = send(collector, FOUR)
    reason = f"the collector refused {refused} of 4: too old"
    assert delivered.refusals == ((0, 4, refused, reason),)
    assert len(collector.requests) == 1


def test_a_partial_success_may_have_the_names_of_the_protocol():
    text = '{"partial_success":{"rejected_log_records":"2","error_message":"no"}}'
    assert rejected(text) == (2, "no")
    assert rejected('{"partialSuccess":{"rejectedLogRecords":1,"errorMessage":5}}') == (1, "")


@pytest.mark.parametrize("status", [400, 413])
def test_a_large_part_is_halved_until_it_fits(collector, status):
    """All records arrive, each once."""
    collector.answer_by(lambda request: status if len(records_of(request)) > 3 else 200)
    body = body_of(10)
    assert send(collector, body) == Delivered()
    taken = support.received(collector)
    assert [record["attributes"]["flower.event.details.n"] for record in taken] == [*range(10)]
    assert taken == support.records(otlp.render(body, wire.key_of(body))[0])


@pytest.mark.parametrize("status", [400, 413])
def test_the_record_that_is_refused_costs_no_other(collector, status):
    def is_bad(request):
        return any(record["attributes"]["flower.event.details.n"] == 6 for record in records_of(request))

    collector.answer_by(lambda request: text_of("bad\nvalue", status) if is_bad(request) else 200)
    delivered = send(collector, body_of(10))
    assert delivered.refusals == ((6, 1, 1, f"the collector answered {status}: bad value"),)
    assert len(support.received(collector)) == 9


@pytest.mark.parametrize("status", [415, 422])
def test_a_part_that_is_refused_as_such_is_not_sent_again(collector, status):
    """It is sent once more without compression, because that may be the reason."""
    collector.answer_by(lambda _request: status)
    delivered = send(collector, FOUR)
    assert delivered.refusals == ((0, 4, 4, f'the collector answered {status}: {{"status":"created"}}'),)
    packed = ["content-encoding" in request.headers for request in collector.requests]
    assert packed == [True, False]


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_collector_that_takes_no_gzip_gets_plain_parts(collector, status):
    collector.answer_by(lambda request: status if "content-encoding" in request.headers else 200)
    with otlp_sink(collector.url) as sink:
        assert [*outcomes(sink, FOUR), *outcomes(sink, ONE)] == [Delivered()] * 2
    assert len(collector.requests) == 3  # the second body is plain at once


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize(("header", "after_s"), [({"Retry-After": "7"}, 7), ({}, None)])
def test_an_overloaded_collector_is_tried_again(collector, status, header, after_s):
    collector.answer_with(Answer(status, header))
    with otlp_sink(collector.url) as sink:
        assert outcomes(sink, FOUR) == [Retry(f"the collector answered {status}", after_s)]
        assert outcomes(sink, FOUR) == [Delivered()]
    is_packed_again = "content-encoding" in collector.requests[1].headers
    assert is_packed_again is (status in {429, 503})


@pytest.mark.parametrize("reply", [401, 403, 404, 407, 500, 302, 405, 408, 425, 501, "reset", "close"])
def test_every_other_answer_costs_nothing(collector, reply):
    """It is tried again, at the longest time if a person has to repair something first."""
    collector.answer_with(reply)
    with otlp_sink(collector.url) as sink:
        outcome = outcomes(sink, FOUR)[-1]
        assert outcomes(sink, FOUR)[-1] == Delivered()
    is_packed_again = "content-encoding" in collector.requests[1].headers
    assert is_packed_again is (reply in {401, 403, 404, 407})
    assert outcome.needs_repair is (reply in {401, 403, 404, 407, 500})
    assert outcome.reason.startswith(f"the collector answered {reply}: ") is outcome.needs_repair
    assert outcome.after_s is None


def test_the_parts_that_are_settled_are_not_sent_again(collector, monkeypatch):
    """As long as the sink remembers; another one sends all, byte for byte."""
    monkeypatch.setattr(otlp, "MAX_RECORDS", 3)
    body = body_of(8)
    collector.answer_with(200, 413, 200, 503)
    with otlp_sink(collector.url, compression="none") as sink:
        first = outcomes(sink, body)
        assert first == [PartSent(), PartSent(), PartSent(), Retry("the collector answered 503")]
        assert outcomes(sink, ONE) == [Delivered()]
        assert outcomes(sink, body) == [PartSent(), Delivered()]
    assert [len(records_of(request)) for request in collector.requests] == [3, 3, 1, 2, 1, 2, 2]
    uids = {record["attributes"]["log.record.uid"] for record in support.received(collector)}
    assert uids >= {otlp.uid(wire.key_of(body), index) for index in range(8)}
    before = len(collector.requests)
    assert send(collector, body, compression="none") == Delivered()
    sent = [request.body for request in collector.requests[before:]]
    assert sent == otlp.render(body, wire.key_of(body))


def test_what_is_known_of_bodies_is_bounded(collector):
    collector.answer_by(lambda _request: 503)
    with otlp_sink(collector.url) as sink:
        for number in range(20):
            outcomes(sink, body_of(1, start=number))
        assert len(sink._underway) == 8


@pytest.mark.parametrize("compression", [None, "gzip", "none"])
def test_parts_are_compressed_unless_the_settings_say_no(collector, compression):
    assert send(collector, ONE, compression=compression) == Delivered()
    (request,) = collector.requests
    assert (request.headers.get("content-encoding") == "gzip") is (compression != "none")
    (part,) = otlp.render(ONE, wire.key_of(ONE))
    assert support.body_of(request) == part
    assert request.headers["content-type"] == "application/json"
    assert request.key == wire.key_of(part)


def test_nothing_goes_to_flowers_collector_and_no_other_gets_what_is_no_body(collector):
    """A probe holds no record."""
    with otlp_sink(DEFAULT_URL) as sink:
        (outcome,) = outcomes(sink, ONE)
    assert (outcome.needs_repair, "config set url" in outcome.reason) == (True, True)
    with otlp_sink(collector.url, compression="none") as sink:
        assert isinstance(outcomes(sink, b'{"burst":{}}')[-1], Refused)
        assert sink.probe().status == 200
    (request,) = collector.requests
    assert json.loads(request.body) == {"resourceLogs": []}


@pytest.mark.parametrize("written", [lambda text: text, lambda text: text.replace("/", "\\/")])
def test_a_message_that_quotes_the_token_is_kept_without_it(collector, tmp_path, written):
    path = tmp_path / "headers.toml"
    path.write_text('Authorization = "Bearer ab/cd/ef=="\n')
    path.chmod(0o600)
    quoting = json.dumps({"message": "not Bearer ab/cd/ef=="})
    collector.answer_with(
        text_of(written(PARTIAL % 1).replace("too old", written("not ab/cd/ef=="))),
        text_of(written(quoting), 422),
        text_of(written(quoting), 422),
    )
    with otlp_sink(collector.url, headers_file=str(path)) as sink:
        told = [outcomes(sink, body)[-1].refusals[0].reason for body in (ONE, FOUR)]
    assert told[0] == "the collector refused 1 of 1: not <header>"
    assert told[1] == 'the collector answered 422: {"message": "not <header>"}'
