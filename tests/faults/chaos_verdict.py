"""The verdict on a chaos run: its figures, its faults, and the lines of the sidecars' logs about them."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults import chaos_writer
from tests.faults.chaos_collector import serials
from tests.support import homes, processes

_SHOWN = 20  # of each kind of fault
_AROUND = timedelta(seconds=3)
_SHOWN_LINES = 60


@dataclass
class Verdict:
    """The figures of a run, and every fault in a sentence."""

    figures: dict[str, Any]
    faults: list[str] = field(default_factory=list)

    def public(self):
        return {**self.figures, "faults": self.faults}

    def table(self):
        rows = {name: value for name, value in self.figures.items() if name != "answers"}
        rows.update({f"  {kind}": count for kind, count in self.figures["answers"].items()})
        wide = max(map(len, rows))
        lines = [f"{name.replace('_', ' '):{wide}}  {value}" for name, value in rows.items()]
        return "\n".join([*lines, *(self.faults or ["all is well"])])


def judge(home, process_log, figures, crowd, ledger, faults):
    """Hold what was acknowledged against what was accepted, and against what lies in the home.

    Figures and faults are those that the run itself noted.
    """
    acknowledged, found, doubled = ledger.acknowledged.keys(), ledger.accepted.keys(), ledger.doubled()
    taken = sum(ledger.verdicts.values())
    archived, torn_lines = _archived(home)
    counters, problems = _status(home)
    lost = ledger.lost(found)
    tracebacks = sum(text.count("Traceback (most recent") for text in _texts([process_log, *_logs(home)]))
    damaged_files = len(list(homes.host(home).glob("damaged/*")))
    figures = {
        **figures,
        "events_acknowledged": len(acknowledged),
        "events_delivered": len(found),
        "events_delivered_unacknowledged": len(found - acknowledged),
        "events_lost": len(lost),
        "events_doubled": len(doubled),
        "bodies_taken": taken,
        "bursts_refused": len(ledger.verdicts) - taken,
        "events_per_body": round(len(found) / max(taken, 1), 2),
        "damaged": counters["damaged"],
        "damaged_files": damaged_files,
        "torn_archive_lines": torn_lines,
        "drafts_left": len(list(homes.telemetry(home).rglob("*.part"))),
        "tracebacks": tracebacks,
    }
    verdict = Verdict(figures, [*faults, *ledger.faults[:_SHOWN]])

    def wrong(sentence, things):
        if things := list(things):
            verdict.faults.append(f"{len(things)} {sentence}: {', '.join(map(str, things[:_SHOWN]))}")

    wrong("events were acknowledged and are lost", sorted(lost))
    wrong("events came under two keys", doubled.items())
    wrong("events were taken and are not in the archive", found - archived.keys())
    wrong("events are in two bodies of the archive", (n for n, times in archived.items() if times > 1))
    begun = crowd.counts["writers_started"] * chaos_writer.SERIALS_PER_WRITER
    wrong("events came that nobody emitted", (n for n in found if type(n) is not int or n >= begun))
    wrong("times event() or a workload failed", crowd.refusals)
    wrong("bodies were rejected", homes.rejected(home))
    wrong("problems are told by `status`", problems)
    wrong("counters of `status` are not 0", (name for name in ("dropped", "rejected") if counters[name]))
    killed = crowd.counts["writers_killed"] + crowd.counts["forked_children_killed"]
    if max(counters["damaged"], damaged_files) > killed:
        verdict.faults.append(f"damage: {counters['damaged']} times, though {killed} workloads were killed")
    if tracebacks:
        verdict.faults.append(f"{tracebacks} tracebacks in {process_log} and {_logs(home)}")
    for n in sorted({*lost, *doubled}, key=str)[:_SHOWN]:
        verdict.faults += _trace(home, n, ledger.acknowledged.get(n), doubled.get(n, []))
    if verdict.faults:
        verdict.faults.append(f"kept for inspection: {home}; seed {figures['seed']}")
    return verdict


def _archived(home):
    """Give how many bodies of the archive hold each serial, and how many lines are torn."""
    found, lines, torn = Counter(), set(), 0
    for path in sorted(homes.host(home).glob("sent/*.jsonl")):
        with path.open("rb") as archive:
            for line in archive:
                digest = hashlib.sha256(line).digest()
                if digest in lines:
                    continue  # a body that was accepted twice, under one key
                lines.add(digest)
                try:
                    found.update(serials(line))
                except ValueError:
                    torn += 1  # its writer was killed; the body comes again
    return found, torn


def _status(home):
    shown = processes.command(home, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    return status["totals"]["counters"], status["problems"]


def _logs(home):
    return sorted(map(str, homes.host(home).glob("sidecar.log*")), reverse=True)


def _texts(paths):
    found = []
    for path in paths:
        with open(path, errors="replace") as file:
            found.append(file.read())
    return found


def _trace(home, n, acknowledged_at, keys):
    """Give what is known of an event that is lost or doubled, and the lines of the logs at that time."""
    number, serial = divmod(n, chaos_writer.SERIALS_PER_WRITER) if type(n) is int else ("?", n)
    lines = [f"event {n}: the {serial}. of workload {number}, keys {keys}"]
    if acknowledged_at is not None:
        at = datetime.fromtimestamp(acknowledged_at, UTC)
        lines[0] += f", acknowledged at {at.isoformat()}"
        first, last = (f"{moment:%Y-%m-%dT%H:%M:%S}" for moment in (at - _AROUND, at + 2 * _AROUND))
        told = [line for text in _texts(_logs(home)) for line in text.splitlines()]
        near = [line for line in told if first <= line <= last or any(key in line for key in keys)]
        lines += [f"    {line}" for line in near[:_SHOWN_LINES]]
    return lines
