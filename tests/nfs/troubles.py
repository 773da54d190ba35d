"""Scenes with a file server that is away or slow: no call of ``event()`` may wait for it."""

import signal
import time

from tests.nfs import verdict
from tests.nfs.scenes import (
    NOTES,
    QUICK,
    end_writers,
    environment,
    notes_of,
    start_sidecar,
    start_writers,
)
from tests.nfs.verdict import Verdict

_LONGEST_MS, _HANGS_MS = 50, 1000
"""While the server is away, ``event()`` may take the first. What takes the second waited for the server."""
_SLACK = 0.05
"""The share of calls that may take longer, because these kernels wait for each other's processors."""
_COMMANDS = ("status", "doctor", "flush --timeout 5")
_COMMAND_S = 30.0
_EXIT_S = 3.0
_LATE_ENDS = 1
"""Of four. A turn covers the spool alone; the kernel may lock another directory that a process looks into."""
_RECOVERY_S = 120.0
"""An NFS client whose lease has ended meanwhile gets its state back first."""
_DROP_LOCKS = """\
modprobe ip_tables; modprobe iptable_filter
for kind in tcp udp; do
    for port in $(rpcinfo -p | awk -v k=$kind '$1 == 100021 && $3 == k {print $4}' | sort -u); do
        iptables-legacy -I INPUT -p $kind --dport $port -j DROP
    done
done
iptables-legacy -L INPUT -n | grep -c DROP
"""


def outage(rig, options):
    """The server hangs for a while: no ``event()``, no end of a process and no command waits for it."""
    verdict.configure(rig, **QUICK)
    env = environment(options)
    sidecar = start_sidecar(rig.a, env)
    doomed, steady = (
        start_writers(rig.a, number, 10**6, "0.05", notes=f"{NOTES}-{name}", env=env)
        for name, number in (("doomed", 4), ("steady", 2))
    )
    time.sleep(8)
    began_s = time.time()
    rig.server.guest.freeze()
    time.sleep(2)
    fresh = start_writers(rig.a, 1, 50, "0.02", notes=f"{NOTES}-fresh", env=env)[0]
    signals = [signal.SIGINT, signal.SIGKILL] * 2
    ends = [_ended(rig.a, pid, number) for pid, number in zip(doomed, signals, strict=True)]
    commands = [_command(rig.a, words, env) for words in _COMMANDS] if options.commands else []
    time.sleep(max(0, began_s + options.down - time.time()))
    down_s = time.time() - began_s
    fresh_told = _count(rig.a.read(f"{NOTES}-fresh"))
    rig.server.guest.thaw()
    back_s = time.time()
    written_s = _await_outage_events(rig, back_s)
    end_writers(rig.a, [*steady, fresh])
    rig.a.kill(sidecar)
    rest = verdict.settle(rig, [rig.a])
    notes = {name: rig.a.read(f"{NOTES}-{name}") for name in ("doomed", "steady", "fresh")}
    more = [
        f"all that was in memory was delivered {written_s:.0f} s after the server was back",
        f"down for {down_s:.0f} s; a process that started meanwhile reported {fresh_told} events",
        *ends,
        *commands,
    ]
    found = verdict.judge(rig, notes, rest, killed=["doomed", "fresh"], more=more)
    late = sum("NOT" in line for line in ends)
    held = fresh_told > 0 and late <= _LATE_ENDS and not any("NOT" in line for line in commands)
    return _timely(found, notes, began_s, back_s, held)


def _await_outage_events(rig, back_s):
    """Wait until what the living processes had in memory is delivered; the seconds that it took."""
    events, _ = verdict.read_told(rig.a.read(f"{NOTES}-steady"))
    waiting = {one.tag for one in events if one.word == "memory"}
    while waiting - verdict.delivered(rig).keys() and time.time() < back_s + _RECOVERY_S:
        time.sleep(1)
    return time.time() - back_s


def _ended(host, pid, number):
    began = time.monotonic()
    host.kill(pid, number)
    code = host.wait(pid, _EXIT_S)
    word = "did NOT end" if code is None else "ended"
    return f"{number.name}: {word} within {time.monotonic() - began:.1f} s"


def _command(host, words, env):
    began = time.monotonic()
    told = host.run(f"/opt/product/bin/flwr-telemetry {words}", env=env, timeout_s=_COMMAND_S, check=False)
    took_s = time.monotonic() - began
    word = "did NOT end" if told["code"] is None else f"ended with {told['code']}"
    said = (told["out"] + told["errors"]).strip().splitlines()[-1:]
    return f"{words}: {word} after {took_s:.1f} s {said}"


def _count(text):
    return len(verdict.read_told(text)[0])


def _timely(found, notes, began_s, back_s, held, slack=_SLACK):
    """Judge the calls that were made while the server was away."""
    events = [one for text in notes.values() for one in verdict.read_told(text)[0]]
    # The first call of a process imports modules, which takes long on these kernels, and asks no server.
    later = [one for one in events if not one.tag.endswith("-0")]
    calls = [one for one in later if one.at_s > began_s and one.at_s - one.took_us / 1e6 < back_s]
    took_ms = [one.took_us / 1000 for one in calls]
    slow = sum(ms > _LONGEST_MS for ms in took_ms)
    line = (
        f"with the server away: {len(calls)} calls, {verdict.durations(calls)}, {slow} above {_LONGEST_MS} ms"
    )
    is_timely = max(took_ms, default=_HANGS_MS) < _HANGS_MS and slow <= slack * len(calls)
    return Verdict(found.holds and held and is_timely, [line, *found.lines])


def grace(rig, options):
    """The server starts anew, and for the grace period gives no lock."""
    verdict.configure(rig, **QUICK)
    writers = start_writers(rig.a, 2, 10**6, "0.02", env=environment(options))
    time.sleep(8)
    began_s = time.time()
    line = "rpc.nfsd 0; sleep 1; echo 45 > /proc/fs/nfsd/nfsv4gracetime; rpc.nfsd 8"
    rig.server.root(line)
    time.sleep(options.down + options.after)
    back_s = time.time()
    end_writers(rig.a, writers)
    rest = verdict.settle(rig, [rig.a])
    found = verdict.judge(rig, notes_of(rig.a), rest)
    # Most of the time the server answers, slowly on these kernels. But no call may wait for the grace period.
    return _timely(found, notes_of(rig.a), began_s, back_s, held=True, slack=1)


def lockless(rig, options):
    """NFSv3 with locks, and a firewall before the lock manager: each lock would hang for ever."""
    dropped = rig.server.root(_DROP_LOCKS, check=False).strip()
    verdict.configure(rig, **QUICK)
    env = environment(options)
    began_s = time.time()
    writer = start_writers(rig.a, 1, options.events, "0.02", env=env)[0]
    code = rig.a.wait(writer, options.down)
    back_s = time.time()
    commands = [_command(rig.a, words, env) for words in _COMMANDS]
    rest = verdict.settle(rig, [rig.a], limit_s=60) if code == 0 else []
    word = "NOT all events reported" if code is None else "all events reported"
    more = [f"ports behind the firewall: {dropped}", f"{word} after {back_s - began_s:.1f} s", *commands]
    found = verdict.judge(rig, notes_of(rig.a), rest, more=more)
    return (
        _timely(found, notes_of(rig.a), began_s, back_s, not any("NOT" in line for line in more))
        if code == 0
        else found
    )
