"""The commands for people."""

import importlib.metadata
import json
import sys

import pytest

from tests.support import homes, processes, records, wire
from tests.support.commands import answer_of, ran
from tests.support.processes import NEVER, command


def _values(told, name):
    if isinstance(told, dict):
        return [
            *([told[name]] if name in told else []),
            *(hit for value in told.values() for hit in _values(value, name)),
        ]
    if isinstance(told, list):
        return [hit for value in told for hit in _values(value, name)]
    return []


def _events(text):
    """Read events that are printed as one JSON array or as one JSON object a line."""
    try:
        told = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]
    return told if isinstance(told, list) else [told]


def test_status_in_a_fresh_home_writes_nothing(home):
    """`status` is a view: it creates neither directory nor source, and says that telemetry is on."""
    for arguments in (["status"], ["status", "--json"]):
        ran(home, *arguments)
    assert homes.tree(home.parent) == []


def test_status_tells_the_counters_by_name(home, collector):
    """`damaged`, `dropped`, `rejected` and `retried` are there, and outlive the sidecar that counted."""
    homes.configure(home, collector.url, bursts=False)
    homes.put_bytes(home, b"rubbish" + b"".join(map(records.encode, records.series(3))))
    collector.answer_with(503, 400)
    processes.once(home)
    processes.deliver(home, times=5)
    told = answer_of(home, "status")
    counters = {name: _values(told, name) for name in ("damaged", "dropped", "rejected", "retried")}
    assert all(counters.values()), counters
    assert 1 in counters["rejected"]
    assert any(isinstance(value, int) and value >= 1 for value in counters["retried"])
    assert any(isinstance(value, int) and value >= 1 for value in counters["damaged"])


@pytest.mark.parametrize("env", [{"FLWR_TELEMETRY_ENABLED": "0"}, {"DO_NOT_TRACK": "1"}])
def test_status_says_why_telemetry_is_off(home, env):
    told = command(home, "status", "--json", env=env)
    assert next(iter(env)) in told.stdout
    assert next(iter(env)) in command(home, "status", env=env).stdout.replace("\n", "")


def test_inspect_shows_what_is_spooled(home):
    """Events in the spool are shown as Flower's JSON, before they are sent."""
    processes.spool_events(home, 3)
    done = ran(home, "inspect", "--stage", "spool", "--json")
    assert wire.bag(map(wire.plain, _events(done.stdout))) == wire.bag(homes.spooled(home))


def test_inspect_changes_nothing(home):
    processes.spool_events(home, 3)
    before = {name: (home / name).stat().st_mtime_ns for name in homes.tree(home)}
    for stage in ("spool", "outbox", "sent", "rejected", "all"):
        assert command(home, "inspect", "--stage", stage, "--json").returncode == 0
    assert command(home, "inspect").returncode == 0
    assert {name: (home / name).stat().st_mtime_ns for name in homes.tree(home)} == before


def test_inspect_shows_what_was_sent_and_what_was_refused(home, collector):
    """The archive and the rejected bodies are readable after the fact."""
    homes.configure(home, collector.url)
    homes.put(home, [*records.series(1), records.sample(event_type="OTHER")])
    collector.answer_by(lambda request: 422 if b"OTHER" in request.body else 200)
    processes.once(home)
    sent = _events(command(home, "inspect", "--stage", "sent", "--json").stdout)
    refused = _events(command(home, "inspect", "--stage", "rejected", "--json").stdout)
    assert [event["event_type"] for event in sent] == ["PING"]
    assert [event["event_type"] for event in refused] == ["OTHER"]


def test_the_flush_command_drains_without_a_sidecar(home, collector):
    """`flush` delivers everything although none runs and none may be started by workloads."""
    homes.configure(home, collector.url, burst_window_s=600)
    processes.spool_events(home, 3)
    ran(home, "flush", "--timeout", "50", env=NEVER)
    assert wire.serials(collector.events()) == [0, 1, 2]


def test_the_flush_command_drains_with_a_sidecar(home, collector):
    homes.configure(home, collector.url, burst_window_s=600, idle_exit_s=600)
    processes.emit(home, 3)
    pid = processes.running_sidecar(home)
    ran(home, "flush", "--timeout", "50")
    assert wire.serials(collector.events()) == [0, 1, 2]
    assert processes.sidecars(home) == [pid]


def test_the_flush_command_fails_when_something_is_left(home, collector):
    """While the collector fails, the exit code is not 0 and the events stay."""
    homes.configure(home, collector.url)
    collector.answer_by(lambda _request: 503)
    processes.spool_events(home, 2)
    assert command(home, "flush", "--timeout", "1").returncode != 0
    assert homes.unsent_files(home)


_FLOWER = """
from flwr.supercore.telemetry import EventType, event
print(event(EventType.START_SERVER_ENTER, {"n": 1}).result())
"""


def test_run_puts_our_emitter_in_place_of_flowers(home, collector):
    """A Flower that knows nothing of us spools, under its own version, and sends nothing itself."""
    homes.configure(home, collector.url)
    done = ran(home, "run", "--", sys.executable, "-c", _FLOWER, env=NEVER)
    assert done.stdout.splitlines()[-1] == "spooled"
    (event,) = homes.spooled(home)
    assert (event["event_type"], event["event_details"]) == ("START_SERVER_ENTER", {"n": 1})
    assert event["context"]["flower"] == {
        "package_name": "flwr",
        "package_version": importlib.metadata.version("flwr"),
    }
    assert collector.requests == []


def test_run_reaches_the_processes_that_a_process_starts(home):
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_FLOWER!r}], check=True)"
    ran(home, "run", "--", sys.executable, "-c", code, env=NEVER)
    assert len(homes.spooled(home)) == 1


@pytest.mark.parametrize("status", [0, 7])
def test_run_gives_the_exit_code_of_the_command(home, status):
    assert (
        command(home, "run", "--", sys.executable, "-c", f"raise SystemExit({status})", env=NEVER).returncode
        == status
    )


def test_run_chains_to_a_sitecustomize_that_is_there(home, tmp_path):
    """A sitecustomize on PYTHONPATH still runs, and nothing of Flower is imported by the hook."""
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['MARK'] = 'here'\n")
    code = "import os, sys\nprint(os.environ['MARK'], sorted({'flwr', 'msgpack'} & set(sys.modules)))"
    done = command(home, "run", "--", sys.executable, "-c", code, env={**NEVER, "PYTHONPATH": str(tmp_path)})
    assert done.stdout == "here []\n", done.stderr


def test_demo_shows_the_whole_way_and_leaves_no_trace(home, tmp_path):
    """`demo` needs no network and no home, finds every event at its own receiver, and cleans up."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    ran(home, "demo", "--workloads", "6", env={"TMPDIR": str(temporary)})
    assert list(temporary.iterdir()) == []
    assert homes.tree(home.parent) == []
    assert processes.processes_of(temporary) == {}
