"""One run of a real Flower, done twice: unmodified, and under ``flwr-telemetry run``.

Each side has its own home, its own proxy (``gateway.py``), and a witness in every process (``trap/``). All
that Flower's code reports on our side must arrive at our collector. Nothing else may leave the machine.

If the variable ``EMBEDDED`` names a directory with a Flower that ``embed.py`` has changed, our side runs that
one, without ``flwr-telemetry run``.
"""

import contextlib
import copy
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from tests.e2e.gateway import Gateway
from tests.support import homes, processes, wire
from tests.support.collector import Collector
from tests.support.wire import Event

TRAP = Path(__file__).parent / "trap"
BIN = Path(sys.executable).parent
EMBEDDED = os.environ.get("EMBEDDED", "")
OURS = () if EMBEDDED else (sys.executable, "-m", "flwr_telemetryd.cli", "run", "--")
PATIENCE_S = 150.0
TRIES = 3  # because Flower does not always do the same twice

RELEASE = tuple(int(part) for part in metadata.version("flwr").split("."))
RAYS_APART = (1, 13)  # before, two Rays on one machine became one cluster
PARTNER = (1, 10)  # before, a context had no partner; ours has "unavailable"

VARYING = {"run-id-hash", "federated_dataset_id", "round", "node"}  # from run to run
# `flwr-simulation` reports it twice. The first, without an exit code, may not know of a failure yet.
HASTY = "FLWR_SIMULATION_RUN_LEAVE"
# Ray must not report its usage, nor warn in each worker.
_QUIET_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class Side:
    """One of the two runs."""

    def __init__(self, directory, prefix, gateway, ray):
        self.scratch = directory
        self.home = directory / "home" / ".flwr"
        self.prefix = list(prefix)
        """The words before each of its commands."""
        self.gateway = gateway
        self.told = []
        """Results of the run that must be equal on both sides."""
        self.changes = {}
        """Changes to the environment of its processes."""
        self._notes = directory / "trap.jsonl"
        self._ray = ray

    @property
    def environment(self):
        return {
            "HOME": str(self.home.parent),
            "PYTHONPATH": str(TRAP),
            "TRAP_FILE": str(self._notes),
            "RAY_TMPDIR": self._ray,
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "HF_HUB_OFFLINE": "1",
            **_QUIET_RAY,
            **self.gateway.environment,
            **self.changes,
        }

    def start(self, *words, **options):
        """Start a Python program."""
        environment = processes.environment(self.home, self.environment)
        command = [*self.prefix, sys.executable, *words]
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        return subprocess.Popen(command, env=environment, text=True, **{**streams, **options})

    def run(self, *words):
        """Run a Python program; its status and its output."""
        with self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                printed, _ = process.communicate(timeout=PATIENCE_S)
            finally:
                process.kill()
        return process.returncode, printed

    def complete(self, *words):
        """Run a Python program, which must succeed; its output."""
        status, printed = self.run(*words)
        assert status == 0, printed
        return printed

    def notes(self, kind):
        """The notes of the witnesses of this kind."""
        lines = map(json.loads, self._notes.read_text().splitlines()) if self._notes.exists() else ()
        return [line for line in lines if line["kind"] == kind]

    def reported(self, kind="reported"):
        """The events that Flower's code reported, or those whose call ``returned``."""
        return [_event(line) for line in self.notes(kind)]


def _event(line):
    return {name: line[name] for name in ("event_type", "event_details")}


@contextlib.contextmanager
def side(directory, prefix=()):
    (directory / "home" / ".flwr").mkdir(parents=True, mode=0o700)
    # The path of a socket in Ray's directory may have at most 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as ray,
        Gateway(directory) as gateway,
    ):
        found = Side(directory, prefix, gateway, ray)
        try:
            yield found
        finally:
            processes.end_all(found.home)


@contextlib.contextmanager
def ours(directory, url, *, prefix=OURS, **settings):
    with side(directory / "ours", prefix) as found:
        if EMBEDDED:
            found.changes["PYTHONPATH"] = f"{TRAP}:{EMBEDDED}"
        homes.configure(found.home, url, **settings)
        yield found


@contextlib.contextmanager
def both(directory, collector):
    """Flower's own side, and ours, which delivers to the collector."""
    with side(directory / "flower") as theirs, ours(directory, collector.url) as our_own:
        yield theirs, our_own


def arrived(our_own, collector, *, killed=False):
    """Wait for all reported events and for the sidecar's end; the events that arrived.

    They must be those that Flower's code reported, with one source, and Flower itself must have sent nothing.
    If processes were ``killed``, events whose call did not return may be missing.
    """
    reported = our_own.reported()
    expected = our_own.reported("returned") if killed else reported
    processes.wait_until(lambda: len(collector.events()) >= len(expected), what=f"{len(expected)} events")
    processes.wait_for_end(our_own.home)
    came = collector.events()
    assert wire.bag(expected) <= wire.bag(map(_event, came)) <= wire.bag(reported)
    assert {event["context"]["source"] for event in came} == {(our_own.home / "source").read_text()}
    assert our_own.gateway.asked_for == []
    assert our_own.notes("refused") == []
    return came


class Comparison(NamedTuple):
    """The result of ``side_by_side``."""

    table: str
    reported: list[dict[str, Any]]
    """The notes of the witnesses of our side."""
    came: list[Event]
    """The events that arrived through us."""


def side_by_side(directory, run):
    """Do the same on both sides, and compare them.

    Flower's code must report the same with us as without us. There are three tries, because Flower does not
    always do the same twice:

    - A SuperExec whose SuperLink has ended sometimes fails instead of reporting its end.
    - A process that is told to end while it writes a line of its log runs on for ever.
    - On a busy machine, late heartbeats of Flower or Ray make a good run fail.

    The last two tries run one side at a time. In every try that came to its end, all reported events must
    arrive.
    """
    tries = []
    for number in range(1, TRIES + 1):
        with Collector() as collector, both(directory / f"try-{number}", collector) as (theirs, our_own):
            at_once = number == 1 and RELEASE >= RAYS_APART
            failures = _on_each(run, theirs, our_own, at_once=at_once)
            came = [] if failures else arrived(our_own, collector)
            expected, reported = [_kinds(one.reported()) for one in (theirs, our_own)]
            if not failures and reported == expected and our_own.told == theirs.told:
                table = "\n".join([_table(reported, theirs.gateway.events(), came), *tries])
                return Comparison(table, our_own.notes("reported"), came)
            tries.append(f"\nBefore: {failures}, {theirs.told} and {our_own.told}, {expected} and {reported}")
    raise AssertionError("".join(tries))


def _on_each(run, *sides, at_once):
    """Do the same on all sides, at once or one after the other; the failures."""
    failures = []
    with ThreadPoolExecutor(len(sides) if at_once else 1) as pool:
        for one, done in [(one, pool.submit(run, one)) for one in sides]:
            try:
                done.result()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                story, link = [], error
                while link is not None:
                    story.append(repr(link))
                    link = link.__context__
                failures.append(f"{one.scratch.name}: {', after '.join(story)}")
    return failures


def _table(reported, sent, came):
    """Compare the keys of the events that arrived with those that Flower sent; the counts of each kind."""
    for event in came:
        added = [event["context"]["hw"].pop(name) for name in ("cpu_count_physical", "memory_gib")]
        assert all(type(figure) is int for figure in added)
        if RELEASE < PARTNER:
            assert event["context"].pop("partner") == "unavailable"
    types = {event["event_type"] for event in sent}  # Flower lost all events of the other types
    assert {_schema(event) for event in came if event["event_type"] in types} == set(map(_schema, sent))

    columns = [reported, _kinds(sent), _kinds(came)]
    rows = [(kind, *(column[kind] for column in columns)) for kind in sorted(set().union(*columns))]
    lines = [f"| {kind} | {code} | {own} | {us} |" for kind, code, own, us in rows]
    head = "| event and details | Flower's code reported | Flower itself sent | arrived through us |"
    return "\n".join([head, "| --- | --- | --- | --- |", *lines])


def _kinds(events):
    """Count events by type and details, without the values that vary."""
    kinds = Counter()
    for event in events:
        details = event["event_details"]
        hasty = event["event_type"] == HASTY and "exit_code" not in details
        varying = VARYING | {"success"} if hasty else VARYING
        details = {name: "…" if name in varying else value for name, value in details.items()}
        kinds[f"{event['event_type']} {json.dumps(details, ensure_ascii=False)}"] += 1
    return kinds


def _schema(event):
    """Type and context as Flower's JSON text, in its order, without the values that vary."""
    context = copy.deepcopy(event["context"])
    for name in ("source", "cluster"):
        context[name] = str(uuid.UUID(context[name])) == context[name]
    context["date"] = wire.iso(wire.microseconds(context["date"])) == context["date"]
    return json.dumps([event["event_type"], context])
