"""Scenes in which nothing may be lost or doubled: adoption, kills, equal names, power cuts, opt-out."""

import json
import random
import time

from tests.nfs import verdict
from tests.nfs.guests import Host
from tests.nfs.rig import COLLECTED, COLLECTOR_PORT, SERVED, TOLD
from tests.nfs.verdict import ENVIRONMENT, SIDECAR, Verdict

PYTHON = "/opt/product/bin/python3"
NOTES = "/tmp/told"
QUICK = {
    "adopt_after_s": 1.0,
    "burst_window_s": 0.3,
    "idle_exit_s": 5,
    "respawn_s": 1,
    "backoff_s": 0.1,
    "backoff_max_s": 0.5,
}
HOT = {**QUICK, "adopt_after_s": 0.05, "burst_window_s": 0.0}
PATIENCE_S = 600.0


def start_writers(host, number, count, pace, *, notes=NOTES, env=ENVIRONMENT):
    """Start writers on a host; their processes."""
    line = f"{PYTHON} /tools/writer.py {count} {pace} {notes}"
    return [host.spawn(line, env=env, log="/tmp/writer.log") for _ in range(number)]


def start_sidecar(host, env=ENVIRONMENT):
    """Keep a sidecar running on a host, as events that start one would."""
    return host.spawn(f"bash -c 'while :; do {SIDECAR}; sleep 0.1; done'", env=env, log="/tmp/sidecar.log")


def end_writers(host, writers):
    """Let writers end, each after what it has in memory is written."""
    host.root("touch /tmp/enough")
    await_writers(host, writers)


def await_writers(host, writers):
    for pid in writers:
        if host.wait(pid, PATIENCE_S) != 0:
            raise RuntimeError(f"a writer on {host.title} failed: {host.root('tail -c 800 /tmp/writer.log')}")


def notes_of(*hosts):
    return {host.title: host.read(NOTES) for host in hosts}


def environment(options, **more):
    """The environment of the product's processes, with the switches that were asked for."""
    return {**ENVIRONMENT, "RIG_WINDOWS": str(options.windows), "RIG_LOCKS": options.locks, **more}


def adopt(rig, options):
    """Writers on both hosts, a sidecar on one alone, which adopts the spool of the other.

    With --hot, slow writers are adopted between two of their events, again and again.
    """
    verdict.configure(rig, **(HOT if options.hot else QUICK))
    env = environment(options)
    sidecar = start_sidecar(rig.a, env)
    began = time.monotonic()
    paces = ("0.2", "0.15") if options.hot else ("flat", "flat")
    numbers = (1 if options.hot else options.writers, options.writers)
    started = [
        (host, start_writers(host, number, options.events, pace, env=env))
        for host, number, pace in zip((rig.a, rig.b), numbers, paces, strict=True)
    ]
    for host, writers in started:
        await_writers(host, writers)
    wrote_s = time.monotonic() - began
    late = verdict.await_delivery(rig)
    took_s = time.monotonic() - began - wrote_s
    rig.a.kill(sidecar)
    rest = verdict.settle(rig, [rig.a]) if late else []
    more = [f"written in {wrote_s:.0f} s; all delivered {took_s:.0f} s later; not by then: {len(late)} files"]
    return verdict.judge(rig, notes_of(rig.a, rig.b), rest, more=more)


def storm(rig, options):
    """Writers and services on both hosts, killed and stopped at random, and a collector that misbehaves."""
    verdict.configure(rig, **{**QUICK, "adopt_after_s": 0.3})
    rig.server.root(f"mkdir -p {COLLECTED}; touch {COLLECTED}/moody")
    hosts, storms = (rig.a, rig.b), []
    for number, host in enumerate(hosts):
        wanted = {"seconds": options.seconds, "writers": options.writers, "seed": options.seed * 2 + number}
        line = f"{PYTHON} /tools/storm.py '{json.dumps(wanted)}' {NOTES}-{host.title}"
        storms.append(host.spawn(line, env=environment(options), log=f"/tmp/storm-{host.title}"))
    for host, pid in zip(hosts, storms, strict=True):
        if host.wait(pid, options.seconds + 120) != 0:
            raise RuntimeError(host.root(f"tail -c 2000 /tmp/storm-{host.title}"))
    rest = verdict.settle(rig, hosts)
    notes = {host.title: host.read(f"{NOTES}-{host.title}") for host in hosts}
    more = [f"{host.title}: {host.root(f'tail -n 1 /tmp/storm-{host.title}').strip()}" for host in hosts]
    return verdict.judge(rig, notes, rest, killed=notes, more=more)


def samename(rig, options):
    """Two machines of one host name share a home; each has a directory of its own."""
    verdict.configure(rig, **QUICK)
    hosts = [Host(host.guest, "localhost") for host in (rig.a, rig.b)]
    env = environment(options)
    sidecars = [start_sidecar(host, env) for host in hosts]
    started = [start_writers(host, options.writers, options.events, "0.01", env=env) for host in hosts]
    for host, writers in zip(hosts, started, strict=True):
        await_writers(host, writers)
    verdict.await_delivery(rig, limit_s=30)
    for host, sidecar in zip(hosts, sidecars, strict=True):
        host.kill(sidecar)
    rest = verdict.settle(rig, hosts)
    names = rig.server.root(f"cd {SERVED}/.flwr/telemetry && ls -d */").split()
    own = sorted(name for name in names if name.startswith("localhost"))
    notes = {host.guest.name: host.read(NOTES) for host in hosts}
    found = verdict.judge(rig, notes, rest, more=[f"directories: {own}"])
    return Verdict(found.holds and len(own) == 2, found.lines)


_FIRST = """\
import os, sys, time
from flwr_telemetry import event, flush
time.sleep(max(float(sys.argv[1]) - time.time(), 0))
print("told", event("PING", {"tag": f"{time.time_ns()}-{os.getpid()}"}).exception() or "spooled", flush(10))
"""


def first(rig, options):
    """First events of eight processes on both hosts at once; they agree on one source ID."""
    lines = []
    for number in range(options.rounds):
        rig.server.root(f"rm -rf {SERVED}/.flwr {COLLECTED}/bodies")
        verdict.configure(rig, **QUICK)
        at_s = time.time() + 3
        started = []
        for host in (rig.a, rig.b):
            host.write("/tmp/first.py", _FIRST)
            host.root("rm -f /tmp/first.log")
            env = environment(options)
            line = f"{PYTHON} /tmp/first.py {at_s}"
            started += [(host, host.spawn(line, env=env, log="/tmp/first.log")) for _ in range(4)]
        for host, pid in started:
            host.wait(pid, 60)
        said = "".join(host.root("cat /tmp/first.log") for host in (rig.a, rig.b))
        verdict.settle(rig, (rig.a, rig.b))
        sources = {body["context"]["source"] for body, _ in verdict.bodies(rig).values()}
        arrived = sum(verdict.delivered(rig).values())
        if (said.count("told"), len(sources), arrived) != (8, 1, 8):
            lines.append(f"round {number}: {arrived} arrived of {len(sources)} sources; {said[-500:]}")
    return Verdict(not lines, [f"{options.rounds} rounds, {len(lines)} bad", *lines])


def optout(rig, options):
    """``disable`` on one host while the other one writes: afterwards nothing is acknowledged or sent."""
    verdict.configure(rig, **{**QUICK, "adopt_after_s": 30, "burst_window_s": 2})
    writers = start_writers(rig.b, options.writers, 10**6, "0.01", env=environment(options))
    sidecar = start_sidecar(rig.b)
    _await_events(rig.b, 100)
    told = rig.a.run("/opt/product/bin/flwr-telemetry disable", env=ENVIRONMENT, timeout_s=120, check=False)
    ended_s = time.time()
    time.sleep(options.seconds)
    for pid in (*writers, sidecar):
        rig.b.kill(pid)
    events, sentences = verdict.read_told(rig.b.read(NOTES))
    later = [one.at_s - ended_s for one in events if one.word == "spooled" and one.at_s > ended_s]
    sent = [at_s for _, at_s in verdict.bodies(rig).values() if at_s > ended_s]
    left = verdict.waiting(rig)
    lines = [
        f"disable: {told['code']} {told['out'].strip()[:300]} {told['errors'].strip()[-300:]}",
        f"acknowledged {len(events)}; after the command {len(later)}, until {max(later, default=0):.2f} s",
        f"sent after the command: {len(sent)}; left {left[:5]}; told {sentences}",
    ]
    return Verdict(told["code"] == 0 and not (later or sent or left), lines)


def powercut(rig, options):
    """One client's kernel dies amid writes, again and again; what it had acknowledged is delivered."""
    verdict.configure(rig, **QUICK)
    sidecar = start_sidecar(rig.a)
    env = environment(options)
    steady = start_writers(rig.a, 2, 10**6, "0.02", env=env)
    address = rig.address(rig.b)
    for _ in range(options.rounds):
        start_writers(rig.b, options.writers, 10**6, "0.01", notes=f"udp:{address}:{COLLECTOR_PORT}", env=env)
        time.sleep(8 + random.random() * 2)
        rig.b.guest.cut_power()
        rig.restart(rig.b)
    end_writers(rig.a, steady)
    rest = verdict.await_delivery(rig, limit_s=150)
    rig.a.kill(sidecar)
    notes = {rig.a.title: rig.a.read(NOTES), "node1": rig.server.read(TOLD)}
    return verdict.judge(rig, notes, rest, killed=["node1"])


def busy(rig, options):
    """Default limits; a host writes all the time: a service elsewhere delivers its events all the same."""
    verdict.configure(rig)
    service = rig.a.spawn(f"{SIDECAR} --service", env=environment(options))
    writers = start_writers(rig.b, options.writers, 10**6, "0.05", env=environment(options))
    time.sleep(options.seconds)
    meanwhile = sum(verdict.delivered(rig).values())
    end_writers(rig.b, writers)
    rest = verdict.await_delivery(rig, limit_s=120)
    rig.a.kill(service)
    found = verdict.judge(rig, notes_of(rig.b), rest, more=[f"meanwhile {meanwhile}"])
    return Verdict(found.holds and meanwhile > 0, found.lines)


def _await_events(host, number):
    end = time.monotonic() + 60
    while host.read(NOTES).count("\n") < number:
        if time.monotonic() > end:
            raise RuntimeError(
                f"no events on {host.title}: {host.root('tail -c 800 /tmp/writer.log', check=False)}"
            )
        time.sleep(0.2)
