"""What arrived, beside what was acknowledged: nothing may be lost, and nothing may count twice."""

import collections
import json
import time
from dataclasses import dataclass

from tests.nfs.rig import COLLECTED, HOME, PORT, SERVED
from tests.support import wire

FLWR_HOME = f"{HOME}/.flwr"
ENVIRONMENT = {
    "HOME": HOME,
    "FLWR_HOME": FLWR_HOME,
    "FLWR_TELEMETRY_SIDECAR": "never",
    "PYTHONPATH": "/tools/switches",
}
SIDECAR = "/opt/product/bin/python3 -P -m flwr_telemetryd"
_WAITING = (
    "find . -type f -size +0 '(' -path '*/work/*' -o -path '*/outbox/*' -o -path '*/spool/*.msgpack' ')'"
)


@dataclass(frozen=True)
class Verdict:
    """What a scene found."""

    holds: bool
    lines: list[str]


@dataclass(frozen=True)
class Told:
    """One event, as its writer saw it."""

    word: str
    took_us: int
    at_s: float
    tag: str


def read_told(text):
    """Give the events in the notes of writers, and the sentences in them."""
    events, sentences = [], set()
    for line in text.splitlines():
        words = line.split(" ", 3)
        if line.startswith("#"):
            sentences.add(line[2:])
        elif len(words) == 4:
            events.append(Told(words[0], int(words[1]), float(words[2]), words[3]))
    return events, sentences


def configure(rig, **settings):
    """Write the user's settings, as the server sees them."""
    rows = {"url": f"http://127.0.0.1:{PORT}/api/v1/event", **settings}
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in rows.items())
    place = f"{SERVED}/.flwr/telemetry"
    rig.server.root(
        f"mkdir -p {place}; chown -R --reference={SERVED} {SERVED}/.flwr; chmod 700 {SERVED}/.flwr {place}"
    )
    rig.server.write(f"{place}/config.toml", text)
    rig.server.root(f"chmod 600 {place}/config.toml; chown --reference={SERVED} {place}/config.toml")


def bodies(rig):
    """Give the accepted bodies by key, and the time of the first request of each."""
    found = {}
    for line in rig.server.read(f"{COLLECTED}/bodies").splitlines():
        request = json.loads(line)
        found.setdefault(request["key"], (json.loads(request["body"]), request["at_s"]))
    return found


def delivered(rig):
    """Count how often each tag was delivered, a body that came twice under one key counted once."""
    events = wire.expand_all(body for body, _ in bodies(rig).values())
    return collections.Counter(event["event_details"]["tag"] for event in events)


def waiting(rig):
    """Give the files with events that were not delivered yet, as the server sees them."""
    place = f"{SERVED}/.flwr/telemetry"
    return rig.server.root(f"cd {place} && {_WAITING}", check=False).splitlines()


def settle(rig, hosts, limit_s=200.0):
    """Deliver what is left, by one pass on each host after the other; what is left after all."""
    rig.server.root(f"rm -f {COLLECTED}/moody")
    end = time.monotonic() + limit_s
    while (rest := waiting(rig)) and time.monotonic() < end:
        for host in hosts:
            host.run(f"{SIDECAR} --once", env=ENVIRONMENT, timeout_s=120, check=False)
    return rest


def await_delivery(rig, limit_s=90.0):
    """Wait until the sidecars that run have delivered all; what is left after all."""
    end = time.monotonic() + limit_s
    while (rest := waiting(rig)) and time.monotonic() < end:
        time.sleep(0.5)
    return rest


def judge(rig, notes, rest=(), *, killed=(), more=()):
    """Compare what was acknowledged with what arrived.

    Args:
        rig: the machines.
        notes: for each host's title, the notes of its writers.
        rest: files that could not be delivered in time.
        killed: the titles of notes whose writers were killed: what was in memory only may be lost.
        more: lines for the reader.
    """
    arrived, events, sentences, lost = delivered(rig), [], set(), {}
    for title, text in notes.items():
        own, said = read_told(text)
        words = {"spooled"} if title in killed else {"spooled", "memory"}
        accepted = {one.tag for one in own if one.word in words}
        lost[title] = len(accepted - arrived.keys())
        events += own
        sentences |= said
    doubled = sum(count > 1 for count in arrived.values())
    words = collections.Counter(one.word for one in events)
    counts = (
        f"acknowledged {words['spooled']}, in memory at first {words['memory']}, failed {words['failed']}"
    )
    lines = [
        f"{counts}; LOST {sum(lost.values())} {lost}, DOUBLED {doubled}; requests {len(bodies(rig))}",
        f"event(): {durations(events)}",
        *more,
        *(f"told: {sentence}" for sentence in sorted(sentences)),
        *(f"left: {path}" for path in rest[:5]),
        *_log(rig),
    ]
    is_tried = words["spooled"] + words["memory"] > 0
    return Verdict(is_tried and not (sum(lost.values()) or doubled or rest), lines)


def durations(events):
    """Tell how long the calls took, in milliseconds."""
    took = sorted(one.took_us / 1000 for one in events) or [0.0]
    at = {f"p{share}": took[len(took) * share // 100] for share in (50, 90, 99)}
    return ", ".join(f"{name} {value:.2f}" for name, value in {**at, "max": took[-1]}.items()) + " ms"


def _log(rig):
    """Give the most frequent complaints of the sidecars."""
    cut = "grep -hE 'ERROR|Traceback' */sidecar.log* | cut -d' ' -f2- | cut -c1-200"
    line = f"cd {SERVED}/.flwr/telemetry && {cut} | sort | uniq -c | sort -rn | head -5"
    return [f"log: {text.strip()}" for text in rig.server.root(line, check=False).splitlines()]
