"""`flwr-telemetry inspect`: the events and bodies, byte for byte."""

import csv
import io
import json
import re
import signal
import subprocess

import pytest

from tests.support import homes, otlp, processes, records, wire
from tests.support.collector import Answer
from tests.support.commands import ran
from tests.support.processes import NEVER, command


def _lines(home, *arguments):
    return ran(home, "inspect", *arguments).stdout.encode().splitlines()


def test_the_table_is_for_people(home, collector):
    homes.configure(home, collector.url)
    homes.put(home, records.series(2))
    processes.once(home)
    homes.put(home, [records.sample({"backend": "ray"}, event_type="OTHER")])
    zone = {"TZ": "Asia/Kolkata"}  # of 2026-11-18T11:06:40Z
    head, first, second, foot = command(home, "inspect", env=zone).stdout.splitlines()
    assert head.split() == ["STAGE", "#", "WHEN", "EVENTS", "EVENT", "TYPE", "DETAILS"]
    waits, sent = sorted([first.split(), second.split()], reverse=True)
    assert [waits[0], *waits[2:]] == [*"spool 2026-11-18 16:36:40 1 OTHER".split(), '{"backend":"ray"}']
    assert [sent[0], *sent[2:8]] == [*"sent 2026-11-18 16:36:40 2 PING".split(), '{"n":…}', "(sent"]
    assert sent[-1] == f"{collector.url})"
    assert foot == "3 events, in 2 rows"
    assert command(home, "inspect", "--expand").stdout.splitlines()[-1] == "3 events"
    whole = command(home, "inspect", "--stage", "sent", "1").stdout
    assert f"Key            {wire.key_of(homes.sent(home)[0])}" in whole
    assert json.loads(whole[whole.index("{") :]) == json.loads(homes.sent(home)[0])
    assert command(home, "inspect", "3").returncode == 2
    assert command(home, "inspect", "--stage", "sent", "--body").stdout == whole + "2 events, in 1 row\n"


def test_a_terminal_of_any_width_shows_what_was_sent(home):
    homes.put(home, [records.sample({"run": "x" * 90, "end": "here"}, event_type="OTHER")])
    for width in (40, 60, 80):
        env = {"FORCE_COLOR": "1", "COLUMNS": str(width)}
        shown = re.sub(r"\x1b\[[0-9;]*m", "", command(home, "inspect", env=env).stdout)
        assert all(len(line) <= width for line in shown.splitlines())
        assert "OTHER" in shown
        assert '"end":"here"' in "".join(line.strip() for line in shown.splitlines())


def test_with_meta_tells_where_each_body_is_and_what_became_of_it(home, collector):
    homes.configure(home, collector.url + "?token=secret")
    homes.put(home, [*records.series(3), *records.series(3, event_type="HALF")])
    collector.answer_by(lambda request: 422 if b"burst" in request.body and b"HALF" in request.body else 200)
    processes.deliver(home, times=5)
    homes.put(home, [records.sample(event_type="REFUSED")])
    collector.answer_by(lambda _request: Answer(413, body=b"too large"))
    processes.deliver(home, times=2)
    homes.put(home, records.series(1))
    lines = [json.loads(line) for line in _lines(home, "--json", "--with-meta")]
    assert all(list(line) == "stage host key at to reason events body".split() for line in lines)
    assert {line["host"] for line in lines} == {homes.host_name()}
    spool, *sent, refused = lines
    assert (spool["stage"], spool["key"], spool["at"], spool["to"]) == ("spool", None, None, None)
    assert sorted(line["events"] for line in sent) == [1, 1, 1, 3]
    assert {line["key"] for line in sent} == set(collector.accepted)
    assert {line["to"] for line in sent} == {collector.url}
    assert [line["at"] for line in sent] == [receipt["at"] for receipt in homes.receipts(home)]
    assert (refused["stage"], refused["at"]) == ("rejected", None)
    assert refused["reason"].startswith("the collector answered 413")
    shown = _lines(home, "--json")
    assert [line["body"] for line in lines] == list(map(json.loads, shown))
    assert shown[-1] == homes.rejected(home)[0].read_bytes()
    for path in homes.host(home).glob("sent/*.receipts.jsonl"):
        path.write_bytes(b"torn\n" + path.read_bytes().replace(b'"to"', b'"from"'))
    sent = _lines(home, "--json", "--with-meta", "--stage", "sent")
    assert {json.loads(line)["at"] for line in sent} == {None}
    assert "there is no receipt" in command(home, "inspect").stdout
    assert command(home, "inspect", "--with-meta").returncode == 2


def test_csv_is_for_a_spreadsheet(home):
    homes.put(home, [records.sample({"x": "=1"}, event_type="=SUM(A1)"), records.sample({"a": 'say "b", c'})])
    head, *rows = csv.reader(io.StringIO(ran(home, "inspect", "--csv").stdout))
    assert head == "stage host key when at to reason events event_type event_details".split()
    assert [row[8:] for row in rows] == [["'=SUM(A1)", '{"x": "=1"}'], ["PING", '{"a": "say \\"b\\", c"}']]


@pytest.mark.parametrize("other", ["--json", "--csv", "--body", "--expand", "1"])
def test_otlp_is_a_form_of_its_own_and_an_empty_stage_is_reported(home, other):
    assert command(home, "inspect", "--as", "otlp", other).returncode == 2
    assert command(home, "inspect", "--stage", "sent").stdout == f"No events in {home}, stage sent.\n"
    assert command(home, "inspect", "--json").stdout == ""
    assert homes.tree(home.parent) == []


def test_an_event_cannot_steer_the_terminal(home):
    """A damaged body costs itself alone."""
    homes.put(home, [records.sample({"x": "\x1b[2J"}, event_type="\x1b[31mRED")])
    batch = homes.host(home) / "outbox" / "1"
    batch.mkdir(parents=True)
    (batch / "ab.json").write_bytes(b'{"event_type":')
    shown = command(home, "inspect", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout
    assert ["?[31mRED" in shown, "\x1b[2J" in shown, "\x1b[31m" in shown] == [True, False, False]
    done = ran(home, "inspect", "--json")
    assert (len(done.stdout.splitlines()), str(batch / "ab.json") in done.stderr) == (1, True)


def started(home, *arguments):
    words = ["-m", "flwr_telemetryd.cli", "inspect", *arguments]
    return processes.start(home, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_reader_that_has_enough_is_no_error(home):
    homes.put(home, records.series(2000))
    inspect = started(home, "--json")
    with inspect.stdout as lines, inspect.stderr as said:
        lines.readline()
        lines.close()
        assert (said.read(), inspect.wait(processes.PATIENCE_S)) == ("", 0)


@pytest.mark.parametrize("form", [["--json"], []])
def test_follow_shows_what_is_new_until_an_interrupt(home, collector, form):
    homes.configure(home, collector.url)
    follow = started(home, "--follow", *form)
    for n in range(2):
        for step in (processes.spool_events, lambda *_: ran(home, "flush", env=NEVER)):
            step(home, 1, {"round": f"number {n}"})
            while f"number {n}" not in follow.stdout.readline():
                pass
    follow.send_signal(signal.SIGINT)
    _, said = follow.communicate(timeout=processes.PATIENCE_S)
    assert (follow.returncode, said) == (0, "")


def test_otlp_is_shown_as_it_is_on_the_wire(home, collector):
    homes.configure(home, collector.url, format="otlp", compression="gzip")
    homes.put(home, [*records.series(1500), *records.series(3, event_type="OTHER", start=9000)])

    def shown(*arguments):
        return sorted(_lines(home, "--as", "otlp", *arguments))

    assert shown("--stage", "spool") == []
    collector.answer_by(lambda _request: 503)
    processes.once(home)
    waiting = shown("--stage", "outbox")
    refusal = b'{"partialSuccess":{"rejectedLogRecords":500,"errorMessage":"old"}}'
    collector.start_afresh(
        lambda request: Answer(200, body=refusal) if len(otlp.records(otlp.body_of(request))) == 500 else 200
    )
    processes.deliver(home, times=3)
    wire_bytes = sorted(otlp.body_of(request) for request in collector.requests)
    assert waiting == wire_bytes
    assert len(wire_bytes) == 3
    assert shown() == wire_bytes
    assert len(shown("--stage", "rejected")) == 1
    assert [len(otlp.records(line)) for line in shown("--event", "OTHER")] == [3]
