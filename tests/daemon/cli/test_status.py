"""`flwr-telemetry status`: the sentences for people, and the JSON for programs."""

import json

import pytest

from tests.support import homes, processes, records
from tests.support.commands import answer_of, ran
from tests.support.processes import command


def test_a_sidecar_that_runs_is_shown(home, collector):
    """A variable does not reach it."""
    homes.configure(home, collector.url, burst_window_s=600, idle_exit_s=600)
    processes.emit(home, 2)
    pid = processes.running_sidecar(home)
    told = command(home, "status", env={"DO_NOT_TRACK": "1"}).stdout
    assert "unset DO_NOT_TRACK" in told.splitlines()[1]
    assert "goes on until `disable`" in told
    shown = command(home, "status").stdout
    assert f"runs: process {pid}, on demand, started" in shown
    assert ("2 events" in shown, "goes on until `disable`" in shown) == (True, False)
    (host,) = answer_of(home, "status")["hosts"]
    told = [host["sidecar"][name] for name in ("alive", "pid", "mode")]
    assert told == [True, pid, "on demand"]
    processes.kill(pid)
    assert "the last one was killed" in command(home, "status").stdout


def test_the_last_error_and_the_next_try_are_shown(home, collector):
    homes.configure(home, collector.url)
    homes.put(home, records.series(3))
    collector.answer_by(lambda _request: 503)
    processes.once(home)
    told = answer_of(home, "status")
    (host,) = told["hosts"]
    assert (host["last_error"], host["last_delivery"]) == ("the collector answered 503", None)
    assert host["next_try"]
    assert (host["outbox"]["bodies"], host["outbox"]["events"]) == (1, 3)
    assert (host["counters"]["retried"], told["totals"]["counters"]["retried"]) == (1, 1)
    shown = command(home, "status").stdout
    assert "the collector answered 503" in shown
    assert "3 events in 1 body" in shown


def test_a_problem_is_no_failure_of_the_view(home):
    homes.put(home, records.series(1))
    homes.telemetry(home).rename(home / "elsewhere")
    homes.telemetry(home).symlink_to("elsewhere")
    told = ran(home, "status").stdout
    assert f"Problem: {homes.telemetry(home)} is a link or no directory; remove it." in told


def test_text_from_a_file_cannot_control_the_terminal(home):
    homes.put(home, [])
    (homes.host(home) / "sidecar.json").write_text(json.dumps({"last_error": "\x1b[2J\x07[bold]gone[/bold]"}))
    shown = command(home, "status").stdout
    assert "?[2J?[bold]gone[/bold]" in shown
    assert "\x1b" not in shown


def test_the_services_of_a_home_are_shown(home):
    homes.configure(home)
    for host, age_s in (("login1", 12), ("login2", 7200)):
        beat = homes.telemetry(home) / f"service-{host}.json"
        beat.write_text("{}")
        homes.age(beat, age_s)
    (line,) = [line for line in command(home, "status").stdout.splitlines() if line.startswith("Service")]
    assert "login1, last sign of life 1" in line
    assert "login2, last sign of life 2 h ago: it cannot deliver, or was killed" in line


def test_many_hosts_are_summed_up(home):
    homes.put(home, records.series(2))
    for number in range(30):
        homes.put(home, records.series(3), host_of=f"node{number}")
    (homes.host(home, "node7") / "sidecar.json").write_text('{"last_error": "no route"}')
    shown = command(home, "status").stdout
    assert "30 other hosts" in shown
    assert "node" not in shown
    assert "90 events on 30 of them" in shown
    assert "no route" in shown
    assert f"Host {homes.host_name()} (this one)" in shown
    told = answer_of(home, "status")
    assert (len(told["hosts"]), told["totals"]["spool"]["events"]) == (31, 92)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "http://127.0.0.1:4318/v1/logs"}, "http://127.0.0.1:4318/v1/logs\n"),
        ({"url": "https://c.example/v1/logs", "format": "otlp"}, "https://c.example/v1/logs (OTLP)\n"),
        ({"url": "http://c.x/", "format": "otlp", "plaintext": True}, "http://c.x/ (OTLP, unencrypted)\n"),
        ({"url": "http://c.example/", "plaintext": True}, "http://c.example/ (unencrypted)\n"),
        ({"url": "file:///tmp/x.jsonl", "format": "otlp"}, "file:///tmp/x.jsonl\n"),
    ],
)
def test_the_destination_tells_how_events_are_sent(home, settings, told):
    homes.configure(home, **settings)
    assert f"Sent to        {told}" in command(home, "status").stdout
    assert f"Would deliver 0 events to {told.strip()}.\n" == command(home, "flush", "--dry-run").stdout
    homes.put(home, records.series(1))
    page = command(home, "view", "--output", "-").stdout
    assert (told.strip() in page, "flwr-telemetry inspect --as otlp" in page) == (True, "(OTLP" in told)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"format": "otlp"}, "config set url"),
        ({"headers_file": "/none"}, "config set url"),
        ({"url": "https://c.example/", "headers_file": "/none/x.toml"}, "/none/x.toml cannot be read"),
    ],
)
def test_what_keeps_everything_from_being_sent_is_a_problem(home, settings, word):
    homes.configure(home, **settings)
    assert word in command(home, "status").stdout.partition("Problem: ")[2]
