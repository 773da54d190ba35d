"""`flwr-telemetry forget --send`: the collector deletes, or the mail is shown as ever."""

import json

import pytest

from flwr_telemetry.record import to_wire
from tests.support import homes, records
from tests.support.bodies import coalesce
from tests.support.collector import Answer
from tests.support.commands import ran
from tests.support.receiving import Serving

MINE = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1"


def furnished(home, url, **settings):
    homes.configure(home, url, **settings)
    (home / "source").write_text(MINE)


def asked(collector):
    return [(request.method, request.path) for request in collector.requests]


def test_the_products_own_collector_deletes(home, tmp_path):
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("starlette")
    with Serving(tmp_path / "flwr.db", tmp_path) as running:
        furnished(home, running.url, enabled=False)
        bodies = list(coalesce(map(to_wire, records.series(5, source=MINE))))
        assert {running.post(body).status_code for body in bodies} == {201}
        told = ran(home, "forget", "--yes", "--send").stdout
        assert "Deleted at 127.0.0.1: every event that it had received of this ID." in told
        assert "mailto:" not in told
        assert {running.post(body).status_code for body in bodies} == {201}
        assert running.events() == []


ALLOWED = Answer(204, {"Allow": "DELETE, OPTIONS"})


def test_the_id_goes_only_to_who_deletes(home, collector):
    """A collector that does not offer it is asked without the ID, and the mail is shown."""
    furnished(home, collector.url)
    collector.answer_by(lambda _request: Answer(405, {"Allow": "POST"}))
    told = ran(home, "forget", "--yes", "--send").stdout
    assert "Nothing was deleted at 127.0.0.1: it does not delete by request." in told
    assert f"mailto:telemetry@flower.ai?subject=Deletion%20request%20for%20source%20ID%20{MINE}" in told
    assert asked(collector) == [("OPTIONS", "/api/v1/source/")]
    assert not (homes.telemetry(home) / "forgetting").exists()


def test_a_collector_that_cannot_now_is_asked_again(home, collector):
    """The ID is kept for the next call, which needs no name; the mail is shown meanwhile."""
    furnished(home, collector.url)
    collector.answer_with(ALLOWED, 503)
    done = ran(home, "forget", "--yes", "--send", code=1)
    assert "127.0.0.1 has not deleted its events: it answered 503" in done.stderr
    assert "mailto:" in done.stdout
    collector.answer_with(ALLOWED, Answer(204))
    answer = json.loads(ran(home, "forget", "--yes", "--send", "--json").stdout)
    assert answer["source"] == MINE
    assert answer["sent"] == {"host": "127.0.0.1", "done": True, "supported": True, "reason": ""}
    assert asked(collector)[-1] == ("DELETE", f"/api/v1/source/{MINE}")


def test_who_cannot_be_reached_costs_nothing(home):
    for url in ("http://127.0.0.1:9/api/v1/event", "file:///tmp/nowhere/x.jsonl"):
        furnished(home, url)
        told = ran(home, "forget", "--yes", "--send").stdout
        assert ("Nothing was deleted at " in told, "mailto:" in told) == (True, True), url
        assert not (home / "source").exists()
