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


@pytest.mark.parametrize("status", _REFUSED)
def test_a_refused_body_is_kept_with_its_reason(home, collector, status):
    """An answer about the body itself moves it to rejected/, with the reason, and it is never sent again."""
    homes.configure(home, collector.url)
    collector.answer_by(lambda _request: status)
    homes.put(home, records.series(1))
    processes.once(home)
    processes.once(home)
    (request,) = collector.requests
    (path,) = homes.rejected(home)
    assert (path.stem, path.read_bytes()) == (request.key, request.body)
    assert str(status) in path.with_suffix(".reason.txt").read_text()
    assert homes.unsent_files(home) == []
    assert homes.sent(home) == []


def test_a_refusal_costs_no_other_body(home, collector):
    homes.configure(home, collector.url, bursts=False)
    homes.put(home, records.series(6))
    collector.answer_by(lambda request: 400 if b'"n":3' in request.body else 200)
    processes.once(home)
    assert wire.serials(collector.events()) == [0, 1, 2, 4, 5]
    assert wire.serials(homes.rejected_events(home)) == [3]


@pytest.mark.parametrize("first", [0, 12], ids="answers from {}".format)
def test_every_other_answer_is_retried(home, collector, first):
    """Redirects, portals, limits and faults of the server cost nothing: the same body is sent again."""
    answers = _RETRIED[first : first + 12]
    homes.configure(home, collector.url, backoff_s=0.01, backoff_max_s=0.02)
    elsewhere = {"Location": f"http://127.0.0.1:{collector.port}/elsewhere"}
    collector.answer_with(*[Answer(status, elsewhere) for status in answers])
    processes.emit(home)
    wait_until(lambda: collector.accepted, what=f"a delivery after {len(collector.requests)} answers")
    assert len(collector.requests) == len(answers) + 1
    assert {(request.path, request.method) for request in collector.requests} == {("/api/v1/event", "POST")}
    assert len({(request.key, request.body) for request in collector.requests}) == 1
    assert homes.rejected(home) == []
    wait_until(lambda: len(homes.sent(home)) == 1)


@pytest.mark.parametrize("manner", ["reset", "close", "hang", "drip"])
def test_a_broken_exchange_is_retried(home, collector, manner):
    """A reset, an early end, silence and a dripping answer cost at most the deadline, and no event."""
    homes.configure(home, collector.url, request_deadline_s=0.5)
    broken = [Answer(manner=manner), Answer(503, manner=manner)]
    collector.answer_with(*broken)
    processes.emit(home)
    wait_until(lambda: collector.accepted)
    assert len({(request.key, request.body) for request in collector.requests}) == 1
    assert len(collector.requests) == 3
    wait_until(lambda: len(homes.sent(home)) == 1)


def test_an_accepted_body_whose_answer_was_lost_is_sent_under_the_same_key(home, collector):
    homes.configure(home, collector.url)
    collector.answer_with(Answer(manner="close", took=True), Answer(manner="reset", took=True))
    processes.emit(home, 2)
    wait_until(lambda: homes.sent(home))
    assert wire.serials(collector.events()) == [0, 1]
    assert len(collector.accepted) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_is_honoured(home, collector, status):
    homes.configure(home, collector.url, idle_exit_s=30)
    collector.answer_with(Answer(status, {"Retry-After": "1"}))
    processes.emit(home)
    wait_until(lambda: collector.accepted)
    first, second = collector.requests
    assert second.at_s - first.at_s > 0.98


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_retry_after_outlives_the_sidecar(home, collector, form):
    """Another sidecar does not ask before the time is over either."""
    later = "3600" if form == "seconds" else formatdate(time.time() + 3600, usegmt=True)
    homes.configure(home, collector.url)
    collector.answer_with(Answer(503, {"Retry-After": later}))
    processes.spool_events(home)
    assert processes.once(home).returncode != 0
    assert (homes.host(home) / "not-before").exists()
    processes.spool_events(home, start_at=1)
    assert processes.once(home).returncode != 0
    assert len(collector.requests) == 1
    events = wire.expand_all(path.read_bytes() for path in homes.waiting(home))
    assert wire.serials([*events, *homes.spooled(home)]) == [0, 1]


@pytest.mark.parametrize("value", ["", "soon", "-5", "99999999999999999999"])
def test_an_odd_retry_after_harms_nobody(home, collector, value):
    """The sidecar does not crash, and the body stays."""
    homes.configure(home, collector.url)
    collector.answer_with(Answer(503, {"Retry-After": value}))
    processes.spool_events(home)
    done = processes.once(home)
    assert "Traceback" not in done.stderr
    assert collector.accepted or homes.waiting(home)
    assert homes.rejected(home) == []


def _refuse_bursts(request):
    return 422 if b'"burst":' in request.body else 200


def test_a_refused_burst_is_sent_member_by_member(home, collector):
    """Each member goes in Flower's plain form under SHA-256("<burst key>/<index>"), and all arrive."""
    homes.configure(home, collector.url)
    collector.answer_by(_refuse_bursts)
    events = records.series(4)
    homes.put(home, events)
    processes.deliver(home, times=2)
    burst, *members = collector.requests
    assert [request.key for request in members] == [wire.member_key(burst.key, index) for index in range(4)]
    assert [json.loads(request.body) for request in members] == wire.expand(burst.body)
    assert all(
        request.body == json.dumps(json.loads(request.body), separators=(",", ":")).encode()
        for request in members
    )
    assert wire.bag(map(wire.plain, collector.events())) == wire.bag(events)
    assert sorted(homes.sent(home)) == sorted(request.body for request in members)
    assert homes.unsent_files(home) == []
    assert homes.rejected(home) == []


def test_a_refused_burst_whose_first_member_is_refused_is_rejected_unsent(home, collector):
    homes.configure(home, collector.url)
    collector.answer_by(lambda _request: 400)
    homes.put(home, records.series(4))
    processes.once(home)
    burst, first = collector.requests
    assert first.key == wire.member_key(burst.key, 0)
    assert {path.stem for path in homes.rejected(home)} == {
        wire.member_key(burst.key, index) for index in range(4)
    }
    assert wire.serials(homes.rejected_events(home)) == [0, 1, 2, 3]
    assert all(path.with_suffix(".reason.txt").read_text().strip() for path in homes.rejected(home))
    assert homes.unsent_files(home) == []


def test_a_later_member_that_is_refused_costs_itself(home, collector):
    """Where the first member is taken, a refused one goes to rejected/ and the others are delivered."""
    homes.configure(home, collector.url)
    collector.answer_by(
        lambda request: 422 if b'"burst":' in request.body or b'"n":2' in request.body else 200
    )
    homes.put(home, records.series(4))
    processes.once(home)
    assert wire.serials(collector.events()) == [0, 1, 3]
    assert wire.serials(homes.rejected_events(home)) == [2]


def test_members_of_a_refused_burst_survive_an_outage(home, collector):
    """The split is not done again, nor is the burst sent again, when the members have to wait."""
    homes.configure(home, collector.url)
    collector.answer_by(lambda request: 422 if b'"burst":' in request.body else 503)
    homes.put(home, records.series(4))
    assert processes.once(home).returncode != 0
    collector.answer_by(_refuse_bursts)
    processes.deliver(home, times=5)
    assert sum(b'"burst":' in request.body for request in collector.requests) == 1
    assert wire.serials(collector.events()) == [0, 1, 2, 3]
    assert len(collector.accepted) == 4
