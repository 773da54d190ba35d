"""A home whose collector speaks OTLP: nothing is lost or told, whatever dies, refuses or quotes."""

import base64
import json
import random

import pytest

from tests.support import homes, processes, records, wire
from tests.support import otlp as support
from tests.support.collector import Answer
from tests.support.kills import ONCE

SECRET = "glsa_quite-secret-0815"
FORMS = (SECRET, base64.b64encode(SECRET.encode()).decode(), SECRET[5:], SECRET[::-1])
SMALL_PARTS = f"from flwr_telemetryd.delivery import otlp\notlp.MAX_RECORDS = 3\n{ONCE}"


@pytest.fixture
def collector(home, collector):
    homes.configure(home, collector.url, format="otlp", backoff_max_s=600)
    return collector


def numbers(found):
    return [record["attributes"]["flower.event.details.n"] for record in found]


def with_headers(home, tmp_path, url, **settings):
    path = tmp_path / "headers.toml"
    path.write_text(f'Authorization = "Bearer {SECRET}"\n')
    path.chmod(0o600)
    homes.configure(home, url, format="otlp", headers_file=str(path), **settings)
    return path


def test_the_records_are_the_events_and_the_archive_keeps_flowers_form(home, collector):
    homes.put(home, events := records.series(5))
    processes.deliver(home)
    got = support.received(collector)
    expected = [support.expected(event) for event in wire.expand_all(homes.sent(home))]
    assert support.bag(map(support.without_own, got)) == support.bag(expected)
    assert wire.bag(map(wire.plain, wire.expand_all(homes.sent(home)))) == wire.bag(events)
    (receipt,) = homes.receipts(home)
    assert (receipt["to"], receipt["status"]) == (collector.url, 200)
    assert homes.unsent_files(home) == []


def test_death_between_any_two_calls(forks, tmp_path, collector):
    """A body has four parts. Each event arrives; one that comes twice has one uid, and equals the first."""
    every = 12
    point = random.SystemRandom().randrange(every)
    print(f"offset {point}")  # noqa: T201
    events = records.series(10, cluster="0b54bd9c-8f0a-4f0e-9d84-5c3d6a5e1f27")
    died, deaths = "yes", 0
    while died:
        home = tmp_path / f"{point}" / ".flwr"
        home.parent.mkdir()
        homes.configure(home, collector.url, format="otlp", backoff_s=0, request_deadline_s=30)
        homes.put(home, events)
        collector.start_afresh(lambda _request: 200)
        env = processes.environment(home)
        died = forks.run(SMALL_PARTS, env, at=point).struck
        for _ in range(10):
            if forks.run(SMALL_PARTS, env).status == 0:
                break
        sent = [record for request in collector.requests for record in _records(request)]
        by_uid = {record["attributes"]["log.record.uid"]: record for record in sent}
        assert all(by_uid[record["attributes"]["log.record.uid"]] == record for record in sent)
        assert sorted(numbers(by_uid.values())) == [*range(10)]
        assert homes.unsent_files(home) == []
        point, deaths = point + every, deaths + bool(died)
    assert deaths > 40 // every


def test_a_refused_part_is_kept_with_its_reason_and_never_sent_again(home, collector):
    def decide(request):
        found = numbers(_records(request))
        refused = sum(number in {3, 4} for number in found)
        text = {"partialSuccess": {"rejectedLogRecords": str(refused), "errorMessage": "too\nold"}}
        return Answer(200, body=json.dumps(text).encode()) if refused else 200

    collector.answer_by(lambda request: 413 if len(_records(request)) > 3 else decide(request))
    homes.put(home, records.series(10))
    processes.deliver(home)
    requests = len(collector.requests)
    processes.deliver(home)
    assert len(collector.requests) == requests
    files = {path.name.partition(".")[2]: path for path in homes.rejected(home)}
    assert files.keys() == {"2.json"}  # 0 to 9 became 0 to 4 and 5 to 9, then 0 and 1, 2 to 4, and so on
    refused = files["2.json"]
    assert wire.serials(wire.expand(refused.read_bytes())) == [2, 3, 4]
    reason = refused.with_name(refused.name.replace(".json", ".reason.txt")).read_text()
    assert reason == "the collector refused 2 of 3: too old\n"
    assert wire.serials(wire.expand_all(homes.sent(home))) == [0, 1, 5, 6, 7, 8, 9]
    keys = {receipt["key"].partition(".")[0] for receipt in homes.receipts(home)}
    assert keys == {refused.name.partition(".")[0]}
    status = json.loads(processes.command(home, "status", "--json").stdout)
    assert status["totals"]["counters"]["rejected"] == 2
    assert status["hosts"][0]["delivered_events"] == 8
    assert status["totals"]["rejected"]["events"] + status["totals"]["sent"]["events"] == 10


def _records(request):
    return support.records(support.body_of(request))


def test_a_wrong_token_costs_nothing(home, tmp_path, collector):
    """It is named in `status`; once it is right, `flush` delivers."""
    path = with_headers(home, tmp_path, collector.url, backoff_max_s=600)
    right = f"Bearer {SECRET}"
    collector.answer_by(lambda request: 200 if request.headers["authorization"] == right else 401)
    path.write_text('Authorization = "Bearer wrong"\n')
    homes.put(home, records.series(3))
    assert processes.once(home).returncode == 1
    status = json.loads(processes.command(home, "status", "--json").stdout)
    assert "401" in status["hosts"][0]["last_error"]
    assert "headers_file" in status["hosts"][0]["last_error"]
    assert status["hosts"][0]["retry_after_s"] == 0
    path.write_text(f'Authorization = "{right}"\n')
    done = processes.command(home, "flush")
    assert done.returncode == 0, done.stdout + done.stderr
    assert numbers(_records(collector.requests[-1])) == [0, 1, 2]
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize("status", [400, 401])
def test_a_token_stands_nowhere(home, tmp_path, collector, status):
    """Not in a file, a log, a command line, a variable or an output, even if the collector quotes it."""
    path = with_headers(home, tmp_path, collector.url)
    quoting = {"partialSuccess": {"rejectedLogRecords": 1, "errorMessage": f"no Bearer {SECRET}"}}
    lines = []

    def answer(_request):
        lines.extend(_world(home))
        first = len(collector.requests) == 1
        return Answer(status if first else 200, {"X-Seen": SECRET}, json.dumps(quoting).encode())

    collector.answer_by(answer)
    homes.put(home, records.series(3))
    told = [processes.once(home, {"FLWR_TELEMETRY_LOGGING": "1"})]
    commands = "status;status --json;config list;config get headers_file;inspect;inspect --json --with-meta"
    commands += ";doctor;view --output -;fields;flush --timeout 1;flush --dry-run"
    told += [processes.command(home, *words.split()) for words in commands.split(";")]
    assert collector.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert lines
    written = [done.stdout + done.stderr for done in told] + lines
    for file in tmp_path.rglob("*"):
        if file.is_file() and file != path:
            written.append(file.read_bytes().decode(errors="replace"))
    assert not [text for text in written for form in FORMS if form in text]


def _world(home):
    """Give the command lines and variables of the processes of a home."""
    for pid, line in processes.processes_of(home).items():
        yield line
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                yield file.read().decode(errors="replace")
        except OSError:
            continue
