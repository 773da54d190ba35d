"""One run of a real Flower, done twice: as Flower made it, and under ``flwr-telemetry run``.

Both sides have a home, a way out (``gateway.py``) and a witness in every process (``trap/``) of their own.
What Flower's code reported on our side has to arrive at our collector, and nothing else may leave.
"""

import contextlib
import copy
import json
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.e2e.gateway import Gateway
from tests.support import homes, processes, wire
from tests.support.collector import Collector
from tests.support.wire import Event

TRAP = Path(__file__).parent / "trap"
BIN = Path(sys.executable).parent
OURS = (sys.executable, "-m", "flwr_telemetryd.cli", "run", "--")
PATIENCE_S = 150.0  # for what hangs

TRIES = 3  # of Flower, to do the same twice

RELEASE = tuple(int(part) for part in metadata.version("flwr").split("."))
RAYS_APART = (1, 13)  # before, two Rays on one machine became one cluster
PARTNER = (1, 10)  # before, a context said nothing of partners; ours says that there is none

# What differs from run to run, and, in what `simulation.py` reports, from training to training.
VARYING = {"run-id-hash", "federated_dataset_id", "round", "node"}
# The first of two that `flwr-simulation` reports, without an exit code, knows of a failure or does not yet.
HASTY = "FLWR_SIMULATION_RUN_LEAVE"

# Ray's own word for "say nothing to anybody", and for a warning that it gives in each worker.
_QUIET_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class Side:
    """Where one of the two runs takes place.

    Attributes:
        home: its `.flwr`.
        scratch: a directory for what the run writes.
        prefix: the words before each of its commands.
        gateway: its way out.
        told: for what the run has to tell, to be held against the other's.
        changes: to the environment of its processes.
    """

    def __init__(self, directory, prefix, gateway, ray):
        self.scratch = directory
        self.home = directory / "home" / ".flwr"
        self.prefix = list(prefix)
        self.gateway = gateway
        self.told = []
        self.changes = {}
        self._notes = directory / "trap.jsonl"
        self._ray = ray

    @property
    def environment(self):
        """What every process of the run has."""
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
        """Start a Python program of Flower's."""
        environment = processes.environment(self.home, self.environment)
        command = [*self.prefix, sys.executable, *words]
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        return subprocess.Popen(command, env=environment, text=True, **{**streams, **options})

    def run(self, *words):
        """Run a Python program of Flower's to its end; give its status and what it printed."""
        with self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                printed, _ = process.communicate(timeout=PATIENCE_S)
            finally:
                process.kill()
        return process.returncode, printed

    def complete(self, *words):
        """Run a Python program of Flower's to its good end; give what it printed."""
        status, printed = self.run(*words)
        assert status == 0, printed
        return printed

    def notes(self, kind):
        """Give what the witnesses wrote down of that kind."""
        lines = map(json.loads, self._notes.read_text().splitlines()) if self._notes.exists() else ()
        return [line for line in lines if line["kind"] == kind]

    def reported(self, kind="reported"):
        """Give type and details of every event that Flower's code reported; or of which that ``returned``."""
        names = ("event_type", "event_details")
        return [{name: line[name] for name in names} for line in self.notes(kind)]


@contextlib.contextmanager
def side(directory, prefix=(), *, silent=False):
    """Give one side; with a way out that never answers if it is to be silent."""
    (directory / "home" / ".flwr").mkdir(parents=True, mode=0o700)
    # The name of a socket in Ray's directory may have 107 bytes at most.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as ray,
        Gateway(directory, silent=silent) as gateway,
    ):
        found = Side(directory, prefix, gateway, ray)
        try:
            yield found
        finally:
            processes.end_all(found.home)


@contextlib.contextmanager
def ours(directory, url, *, prefix=OURS, **settings):
    """Give our side, which delivers to this address."""
    with side(directory / "ours", prefix) as found:
        homes.configure(found.home, url, **settings)
        yield found


@contextlib.contextmanager
def both(directory, collector):
    """Give Flower's own side, and ours, which delivers to the collector."""
    with side(directory / "flower") as theirs, ours(directory, collector.url) as our_own:
        yield theirs, our_own


def on_each(run, *sides, at_once):
    """Do the same on all sides, at once or one after the other; give what failed, and on which."""
    failures = []
    with ThreadPoolExecutor(len(sides) if at_once else 1) as pool:
        for one, done in [(one, pool.submit(run, one)) for one in sides]:
            try:
                done.result()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                failures.append(f"{one.scratch.name}: {_story(error)}")
    return failures


def _story(error):
    """Give an error and those that it came after."""
    story = []
    while error is not None:
        story.append(repr(error))
        error = error.__context__
    return ", after ".join(story)


def arrived(our_own, collector, *, killed=False):
    """Wait until as much has arrived as was reported, and for the sidecar's end; give what has come.

    It is just what Flower's code reported, of one source, and Flower itself has sent nothing. Where processes
    were killed, it may lack what they died in the midst of reporting.
    """
    reported = our_own.reported()
    expected = our_own.reported("returned") if killed else reported
    processes.wait_until(lambda: len(collector.events()) >= len(expected), what=f"{len(expected)} events")
    processes.wait_for_end(our_own.home)
    came = collector.events()
    names = ("event_type", "event_details")
    found = wire.bag({name: event[name] for name in names} for event in came)
    assert wire.bag(expected) <= found <= wire.bag(reported)
    assert {event["context"]["source"] for event in came} == {(our_own.home / "source").read_text()}
    assert our_own.gateway.asked_for == []
    assert our_own.notes("refused") == []
    return came


@dataclass(frozen=True)
class Comparison:
    """Both sides, held against each other.

    Attributes:
        table: what was found; for people.
        reported: what the witnesses of our side wrote down.
        came: the events that arrived through us.
    """

    table: str
    reported: list[dict[str, Any]]
    came: list[Event]


def side_by_side(directory, run):
    """Do the same on both sides, and hold them against each other.

    What Flower's code reports under us has to be what it reports without us. But Flower is not sure to do the
    same twice: a SuperExec whose SuperLink has gone fails now and then instead of reporting its end; one
    that is told to end amid a line of its log cannot log that, and goes on for ever; and on a machine that is
    busy enough its heartbeats and those of Ray come late, so that a good run fails. So it has three tries, of
    which the last two leave it alone on the machine. That all it reported arrives has no second try: it is
    asked of every one that came to its end.
    """
    tries = []
    for number in range(1, TRIES + 1):
        with Collector() as collector, both(directory / f"try-{number}", collector) as (theirs, our_own):
            at_once = number == 1 and RELEASE >= RAYS_APART
            failures = on_each(run, theirs, our_own, at_once=at_once)
            came = [] if failures else arrived(our_own, collector)
            expected, reported = [_kinds(one.reported()) for one in (theirs, our_own)]
            if not failures and reported == expected and our_own.told == theirs.told:
                table = "\n".join([_table(reported, theirs.gateway.events(), came), *tries])
                return Comparison(table, our_own.notes("reported"), came)
            tries.append(f"\nBefore: {failures}, {theirs.told} and {our_own.told}, {expected} and {reported}")
    raise AssertionError("".join(tries))


def _table(reported, sent, came):
    """Hold what came against what Flower sent, key by key; give how many there are of each kind."""
    for event in came:
        added = [event["context"]["hw"].pop(name) for name in ("cpu_count_physical", "memory_gib")]
        assert all(type(figure) is int for figure in added)
        if RELEASE < PARTNER:
            assert event["context"].pop("partner") == "unavailable"
    types = {event["event_type"] for event in sent}  # of the others Flower has lost all
    assert {_schema(event) for event in came if event["event_type"] in types} == set(map(_schema, sent))

    columns = [reported, _kinds(sent), _kinds(came)]
    rows = [(kind, *(column[kind] for column in columns)) for kind in sorted(set().union(*columns))]
    lines = [f"| {kind} | {code} | {own} | {us} |" for kind, code, own, us in rows]
    head = "| event and details | Flower's code reported | Flower itself sent | arrived through us |"
    return "\n".join([head, "| --- | --- | --- | --- |", *lines])


def _kinds(events):
    """Count events by type and details, without what differs from run to run."""
    kinds = Counter()
    for event in events:
        details = event["event_details"]
        hasty = event["event_type"] == HASTY and "exit_code" not in details
        varying = VARYING | {"success"} if hasty else VARYING
        details = {name: "…" if name in varying else value for name, value in details.items()}
        kinds[f"{event['event_type']} {json.dumps(details, ensure_ascii=False)}"] += 1
    return kinds


def _schema(event):
    """Give type and context as Flower's JSON text, in its order, without what differs from run to run."""
    context = copy.deepcopy(event["context"])
    for name in ("source", "cluster"):
        context[name] = str(uuid.UUID(context[name])) == context[name]
    context["date"] = wire.iso(wire.microseconds(context["date"])) == context["date"]
    return json.dumps([event["event_type"], context])
