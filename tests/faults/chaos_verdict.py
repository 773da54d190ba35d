"""What came of a chaos run: its figures, what is wrong, and what the sidecars' logs say about that."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.faults import chaos_writer
from tests.support import homes, processes
from tests.support.wire import expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.faults.chaos_collector import Tally
    from tests.faults.chaos_crowd import Crowd, Hunt

_SHOWN = 20  # of each kind of fault
_AROUND = timedelta(seconds=3)
_SHOWN_LINES = 60


@dataclass
class Verdict:
    """The figures of a run, and every fault in a sentence."""

    figures: dict[str, Any]
    faults: list[str] = field(default_factory=list)

    def public(self) -> dict[str, Any]:
        """Give all of it for JSON."""
        return {**self.figures, "faults": self.faults}

    def table(self) -> str:
        """Give all of it for people."""
        rows = {name: value for name, value in self.figures.items() if name != "answers"}
        rows.update({f"  {kind}": count for kind, count in self.figures["answers"].items()})
        wide = max(map(len, rows))
        lines = [f"{name.replace('_', ' '):{wide}}  {value}" for name, value in rows.items()]
        return "\n".join([*lines, *(self.faults or ["all is well"])])


@dataclass(frozen=True)
class Evidence:
    """What a run leaves behind."""

    home: Path
    process_log: Path  # what all processes said on standard error
    seed: int
    chaos_s: float
    settling_s: float
    crowd: Crowd
    hunt: Hunt
    tally: Tally
    not_settled: str  # why not all could be delivered in the end; empty if it could
    left: Mapping[int, str]  # processes that still live


def judge(run: Evidence) -> Verdict:
    """Hold what was acknowledged against what was taken, and against what lies in the home."""
    home, crowd, hunt, tally = run.home, run.crowd, run.hunt, run.tally
    acknowledged, found = crowd.acknowledged.keys(), tally.found.keys()
    archived, torn_lines = _archived(home)
    counters, problems = _status(home)
    killed = crowd.killed + crowd.children_killed
    tracebacks = sum(text.count("Traceback (most recent") for text in _texts([run.process_log, *_logs(home)]))
    verdict = Verdict(
        {
            "seed": run.seed,
            "chaos_s": round(run.chaos_s, 1),
            "settling_s": round(run.settling_s, 1),
            "events_acknowledged": len(acknowledged),
            "events_delivered": len(found),
            "events_delivered_unacknowledged": len(found - acknowledged),
            "events_lost": len(acknowledged - found),
            "events_doubled": len(tally.doubled),
            "writers_started": crowd.started,
            "writers_killed": crowd.killed,
            "forked_children_killed": crowd.children_killed,
            "writers_stopped": crowd.stopped,
            "writers_stopped_amid_an_append": crowd.stopped_themselves,
            "sidecars_seen": len(hunt.seen),
            "sidecars_killed": len(hunt.killed),
            "sidecars_terminated": hunt.terminated,
            "sidecars_stopped": hunt.stopped,
            "requests": tally.requests,
            "requests_amid_chaos": tally.requests_in_chaos,
            "requests_under_a_known_key": tally.repeated,
            "requests_under_a_key_taken_before": tally.duplicates,
            "bodies_taken": len(tally.taken),
            "bursts_refused": len(tally.refused),
            "events_per_body": round(len(found) / max(len(tally.taken), 1), 2),
            "events_per_request": round(len(found) / max(tally.requests, 1), 2),
            "damaged": counters["damaged"],
            "damaged_files": len(list(homes.host(home).glob("damaged/*"))),
            "torn_archive_lines": torn_lines,
            "drafts_left": len(list(homes.telemetry(home).rglob("*.part"))),
            "tracebacks": tracebacks,
            "answers": dict(sorted(tally.answers.items())),
        }
    )
    wrong = verdict.faults.append
    if run.not_settled:
        wrong(f"what was left could not be delivered: {run.not_settled}")
    _tell(wrong, "events were acknowledged and are lost", sorted(acknowledged - found))
    _tell(wrong, "events came under two keys", tally.doubled)
    _tell(wrong, "events were taken and are not in the archive", sorted(found - archived.keys()))
    twice = sorted(n for n, times in archived.items() if times > 1)
    _tell(wrong, "events are in two bodies of the archive", twice)
    strangers = [n for n in found if n // chaos_writer.SERIALS_PER_WRITER >= crowd.started]
    _tell(wrong, "events came that nobody emitted", [*strangers, *tally.strange])
    _tell(wrong, "times event() or a workload failed", crowd.refusals)
    _tell(wrong, "bodies were rejected", homes.rejected(home))
    _tell(wrong, "processes are left", [f"{pid}: {line}" for pid, line in run.left.items()])
    _tell(wrong, "problems are told by `status`", problems)
    if counters["dropped"] or counters["rejected"]:
        wrong(f"`status` tells of dropped or rejected events: {counters}")
    if max(counters["damaged"], verdict.figures["damaged_files"]) > killed:
        wrong(f"{counters['damaged']} times damage, though only {killed} workloads were killed")
    if tracebacks:
        wrong(f"{tracebacks} tracebacks in {run.process_log} and {[str(path) for path in _logs(home)]}")
    doubled = {n: keys for n, *keys in tally.doubled}
    for n in sorted({*(acknowledged - found), *doubled})[:_SHOWN]:
        verdict.faults += _trace(home, n, crowd.acknowledged.get(n), doubled.get(n, []))
    if verdict.faults:
        wrong(f"kept for a look: {home}; seed {run.seed}")
    return verdict


def _tell(wrong: Any, word: str, things: Iterable[Any]) -> None:
    things = list(things)
    if things:
        wrong(f"{len(things)} {word}: {', '.join(map(str, things[:_SHOWN]))}")


def _archived(home: Path) -> tuple[Counter[int], int]:
    """Give how many bodies of the archive hold each serial, and how many lines are torn."""
    serials: Counter[int] = Counter()
    lines: set[bytes] = set()
    torn = 0
    for path in sorted(homes.host(home).glob("sent/*.jsonl")):
        with path.open("rb") as archive:
            for line in archive:
                digest = hashlib.sha256(line).digest()
                if digest in lines:
                    continue  # a body that was accepted twice, under one key
                lines.add(digest)
                try:
                    events = expand(line)
                except ValueError:
                    torn += 1  # its writer was killed; what it says comes again
                    continue
                serials.update(event["event_details"]["n"] for event in events)
    return serials, torn


def _status(home: Path) -> tuple[dict[str, int], list[str]]:
    shown = processes.command(home, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    return status["totals"]["counters"], status["problems"]


def _logs(home: Path) -> list[Path]:
    """Give the sidecars' logs, the older one first."""
    return sorted(homes.host(home).glob("sidecar.log*"), reverse=True)


def _texts(paths: Iterable[Path]) -> list[str]:
    return [path.read_text(errors="replace") for path in paths if path.exists()]


def _trace(home: Path, n: int, acknowledged_at: float | None, keys: list[str]) -> list[str]:
    """Give what is known of an event that is lost or doubled, and what the logs said at that time."""
    number, serial = divmod(n, chaos_writer.SERIALS_PER_WRITER)
    lines = [f"event {n}: the {serial}. of workload {number}, keys {keys}"]
    if acknowledged_at is not None:
        at = datetime.fromtimestamp(acknowledged_at, UTC)
        lines[0] += f", acknowledged at {at.isoformat()}"
        first, last = (f"{moment:%Y-%m-%dT%H:%M:%S}" for moment in (at - _AROUND, at + 2 * _AROUND))
        told = [line for text in _texts(_logs(home)) for line in text.splitlines()]
        near = [line for line in told if first <= line <= last or any(key in line for key in keys)]
        lines += [f"    {line}" for line in near[:_SHOWN_LINES]]
    return lines
