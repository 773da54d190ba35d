"""Section 6, "Answers", and section 5, a refused burst: what each answer does to a body."""

import json
import time
from email.utils import formatdate

import pytest

from tests.support import homes, processes, records, wire
from tests.support.collector import Answer
from tests.support.processes import wait_until

_DELIVERED = [200, 201, 202, 204, 206, 299]
_REFUSED = [400, 413, 415, 422]
_RETRIED = [300, 301, 302, 303, 307, 308, 401, 403, 404, 405, 407, 408]
_RETRIED += [409, 410, 425, 429, 451, 500, 501, 502, 503, 504, 511, 599]


def test_every_2xx_is_delivered(home, collector):
    homes.configure(home, collector.url, bursts=False)
    homes.put(home, records.series(len(_DELIVERED)))
    collector.answer_with(*_DELIVERED)
    processes.deliver(home)
    assert len(collector.requests) == len(_DELIVERED)
    assert len(homes.sent(home)) == len(_DELIVERED)
    assert collector.connections == 1


def test_a_refused_body_is_kept_with_its_reason(home, collector):
    """An answer about the body itself moves it to rejected/, with the reason, and it is never sent again."""
    homes.configure(home, collector.url, bursts=False)
    collector.answer_with(*_REFUSED)
    homes.put(home, records.series(len(_REFUSED)))
    processes.once(home)
    processes.once(home)
    for status, request in zip(_REFUSED, collector.requests, strict=True):
        path = homes.host(home) / "rejected" / f"{request.key}.json"
        assert path.read_bytes() == request.body
        assert str(status) in path.with_suffix(".reason.txt").read_text()
    assert homes.unsent_files(home) == []
    assert homes.sent(home) == []


@pytest.mark.parametrize("first", [0, 12], ids="answers from {}".format)
def test_every_other_answer_is_retried(home, collector, first):
    """Redirects, portals, limits and faults of the server cost nothing: the same body is sent again."""
    answers = _RETRIED[first : first + 12]
    homes.configure(home, collector.url, backoff_s=0.01, backoff_max_s=0.02)
    elsewhere = {"Location": f"http://127.0.0.1:{collector.port}/elsewhere"}
    collector.answer_with(*[Answer(status, elsewhere) for status in answers])
    processes.emit(home)
    wait_until(lambda: homes.sent(home))
    assert len(collector.requests) == len(answers) + 1
    assert {(request.path, request.method) for request in collector.requests} == {("/api/v1/event", "POST")}
    assert len({(request.key, request.body) for request in collector.requests}) == 1
    assert homes.rejected(home) == []


@pytest.mark.parametrize(
    ("manner", "took"), [("reset", True), ("close", False), ("hang", True), ("drip", False)]
)
def test_a_broken_exchange_is_retried(home, collector, manner, took):
    """A reset, an early end, silence and a dripping answer cost at most the deadline, and no event."""
    homes.configure(home, collector.url, request_deadline_s=0.5)
    collector.answer_with(*[Answer(status, manner=manner, took=took) for status in (200, 503)])
    processes.emit(home, 2)
    wait_until(lambda: homes.sent(home))
    assert len({(request.key, request.body) for request in collector.requests}) == 1
    assert len(collector.requests) == 3
    assert wire.serials(collector.events()) == [0, 1]


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_is_honoured(home, collector, status):
    homes.configure(home, collector.url, idle_exit_s=30)
    collector.answer_with(Answer(status, {"Retry-After": "1"}))
    processes.emit(home)
    wait_until(lambda: collector.accepted)
    first, second = collector.requests
    assert second.at_s - first.at_s > 0.98


def test_a_retry_after_outlives_the_sidecar(home, collector):
    later = formatdate(time.time() + 3600, usegmt=True)
    collector.answer_with(Answer(503, {"Retry-After": later}))
    processes.spool_events(home)
    assert processes.once(home).returncode != 0
    assert (homes.host(home) / "not-before").exists()
    processes.spool_events(home, start_at=1)
    assert processes.once(home).returncode != 0
    assert len(collector.requests) == 1
    events = wire.expand_all(path.read_bytes() for path in homes.waiting(home))
    assert wire.serials([*events, *homes.spooled(home)]) == [0, 1]


def _is_burst(request):
    return b'"burst":' in request.body


def test_a_refused_burst_is_sent_member_by_member(home, collector):
    """Each member goes in Flower's plain form under SHA-256("<burst key>/<index>"), also after an outage."""
    collector.answer_by(lambda request: 422 if _is_burst(request) else 503)
    events = records.series(4)
    homes.put(home, events)
    assert processes.once(home).returncode != 0
    collector.answer_by(lambda request: 422 if _is_burst(request) else 200)
    processes.deliver(home, times=5)
    (burst,) = filter(_is_burst, collector.requests)
    members = collector.accepted
    expected = {wire.member_key(burst.key, n): event for n, event in enumerate(wire.expand(burst.body))}
    assert {key: json.loads(body) for key, body in members.items()} == expected
    assert all(
        json.dumps(json.loads(body), separators=(",", ":")).encode() == body for body in members.values()
    )
    assert wire.bag(map(wire.plain, collector.events())) == wire.bag(events)
    assert sorted(homes.sent(home)) == sorted(members.values())
    assert (homes.unsent_files(home), homes.rejected(home)) == ([], [])


def test_a_refused_burst_whose_first_member_is_refused_is_rejected_unsent(home, collector):
    collector.answer_by(lambda _request: 400)
    homes.put(home, records.series(4))
    processes.once(home)
    burst, first = collector.requests
    assert first.key == wire.member_key(burst.key, 0)
    keys = {wire.member_key(burst.key, index) for index in range(4)}
    assert {path.stem for path in homes.rejected(home)} == keys
    assert wire.serials(homes.rejected_events(home)) == [0, 1, 2, 3]
    assert all(path.with_suffix(".reason.txt").read_text().strip() for path in homes.rejected(home))
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize("bursts", [False, True])
def test_an_event_that_is_refused_costs_no_other(home, collector, bursts):
    """Alone, or as a later member of a refused burst."""
    homes.configure(home, collector.url, bursts=bursts)
    collector.answer_by(lambda request: 422 if _is_burst(request) or b'"n":2' in request.body else 200)
    homes.put(home, records.series(4))
    processes.once(home)
    assert wire.serials(collector.events()) == [0, 1, 3]
    assert wire.serials(homes.rejected_events(home)) == [2]
