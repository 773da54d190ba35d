"""`flwr-telemetry inspect`: the events and bodies, byte for byte."""

import json
import signal
import subprocess

import pytest

from tests.support import homes, processes, records, wire
from tests.support.processes import NEVER, command


def _lines(home, *arguments):
    done = command(home, "inspect", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.encode().splitlines()


def test_bodies_are_shown_byte_for_byte(home, collector):
    """In the outbox, in the archive and in rejected/, the output equals the bytes on the disk."""
    homes.configure(home, collector.url)
    homes.put(home, [*records.series(3), records.sample(event_type="OTHER")])
    collector.answer_by(lambda _request: 503)
    processes.once(home)
    waiting = sorted(path.read_bytes() for path in homes.waiting(home))
    assert sorted(_lines(home, "--stage", "outbox")) == waiting
    collector.answer_by(lambda request: 422 if b"OTHER" in request.body else 200)
    processes.deliver(home, times=3)
    assert _lines(home, "--stage", "sent") == homes.sent(home)
    assert _lines(home, "--stage", "rejected") == [path.read_bytes() for path in homes.rejected(home)]
    assert _lines(home) == [*homes.sent(home), *(path.read_bytes() for path in homes.rejected(home))]


def test_expand_gives_the_events_of_a_burst(home, collector):
    """One line for each event, in Flower's own form."""
    homes.configure(home, collector.url)
    homes.put(home, records.series(3))
    processes.once(home)
    events = [json.loads(line) for line in _lines(home, "--stage", "sent", "--expand")]
    assert wire.serials(events) == [0, 1, 2]
    assert not any("burst" in event for event in events)


def test_the_table_is_for_people(home, collector):
    """A row for each event or body: stage, age, count, type, and the shared details."""
    homes.configure(home, collector.url)
    homes.put(home, records.series(2))
    processes.once(home)
    homes.put(home, [records.sample({"backend": "ray"}, event_type="OTHER")])
    head, first, second, foot = command(home, "inspect").stdout.splitlines()
    assert head.split() == ["STAGE", "WHEN", "COUNT", "EVENT", "TYPE", "DETAILS"]
    assert (first.split()[0], first.split()[-2:]) == ("spool", ["OTHER", '{"backend":"ray"}'])
    assert (second.split()[0], second.split()[-3:]) == ("sent", ["2", "PING", '{"n":…}'])
    assert foot == "3 events, in 2 rows"
    assert command(home, "inspect", "--expand").stdout.splitlines()[-1] == "3 events"


def test_an_empty_stage_is_reported(home):
    """People get a sentence, and programs get no output. No file is created."""
    assert command(home, "inspect", "--stage", "sent").stdout == f"No events in {home}, stage sent.\n"
    assert command(home, "inspect", "--json").stdout == ""
    assert homes.tree(home.parent) == []


def test_a_damaged_body_costs_itself_alone(home):
    """Its path goes to standard error, and all other bodies are shown."""
    homes.put(home, records.series(1))
    batch = homes.host(home) / "outbox" / "1"
    batch.mkdir(parents=True)
    (batch / "ab.json").write_bytes(b'{"event_type":')
    done = command(home, "inspect", "--json")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert str(batch / "ab.json") in done.stderr


def test_an_event_cannot_steer_the_terminal(home):
    """Its type and details may hold escape sequences."""
    homes.put(home, [records.sample({"x": "\x1b[2J"}, event_type="\x1b[31mRED")])
    shown = command(home, "inspect", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout
    assert "?[31mRED" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b[31m" not in shown


def test_a_reader_that_has_enough_is_no_error(home):
    """`inspect --json | head -1` ends quietly."""
    homes.put(home, records.series(2000))
    inspect = processes.start(
        home,
        ["-m", "flwr_telemetryd.cli", "inspect", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert inspect.stdout is not None
    assert inspect.stderr is not None
    inspect.stdout.readline()
    inspect.stdout.close()
    said = inspect.stderr.read()
    inspect.stderr.close()
    assert (inspect.wait(processes.PATIENCE_S), said) == (0, "")


@pytest.mark.parametrize("form", [["--json"], []])
def test_follow_shows_what_is_new_until_an_interrupt(home, collector, form):
    """An event is shown in the spool at once, and again when it was sent. Ctrl-C ends with exit code 0."""
    homes.configure(home, collector.url)
    follow = processes.start(
        home,
        ["-m", "flwr_telemetryd.cli", "inspect", "--follow", *form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert follow.stdout is not None
    for n in range(2):
        processes.spool_events(home, 1, {"round": f"number {n}"})
        while f"number {n}" not in follow.stdout.readline():
            pass
        assert command(home, "flush", env=NEVER).returncode == 0
        while f"number {n}" not in follow.stdout.readline():
            pass
    follow.send_signal(signal.SIGINT)
    _, said = follow.communicate(timeout=processes.PATIENCE_S)
    assert (follow.returncode, said) == (0, "")
