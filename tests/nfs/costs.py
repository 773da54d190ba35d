"""What the product asks of a file server: the requests of an event and of an idle sidecar."""

import time

from tests.nfs import verdict
from tests.nfs.scenes import PYTHON, environment
from tests.nfs.verdict import SIDECAR, Verdict

_WARM, _EVENTS = 50, 300
_WRITER = f"""\
import os, time
from flwr_telemetry import event
for n in range({_WARM}):
    event("PING", {{"tag": f"warm-{{n}}"}})
open("/tmp/is-warm", "w").close()
while not os.path.exists("/tmp/go-on"):
    time.sleep(0.01)
took, processor = [], time.process_time()
for n in range({_EVENTS}):
    began = time.perf_counter()
    event("PING", {{"tag": f"steady-{{n}}"}})
    took.append(time.perf_counter() - began)
    time.sleep(0.05)
processor = (time.process_time() - processor) / {_EVENTS}
took.sort()
print(f"p50 {{took[{_EVENTS} // 2] * 1e3:.2f}} ms, p99 {{took[{_EVENTS} * 99 // 100] * 1e3:.2f}} ms,",
      f"processor {{processor * 1e3:.2f}} ms")
open("/tmp/is-done", "w").close()
time.sleep(600)
"""


def ops(rig, options):
    """Count the requests to the server: of an event, and of an idle sidecar in a minute."""
    verdict.configure(rig, idle_exit_s=600, burst_window_s=1)
    rig.a.write("/tmp/writer.py", _WRITER)
    writer = rig.a.spawn(f"{PYTHON} -u /tmp/writer.py", env=environment(options), log="/tmp/costs")
    _await_file(rig.a, "/tmp/is-warm")
    before = _requests(rig.a)
    rig.a.root("touch /tmp/go-on")
    _await_file(rig.a, "/tmp/is-done")
    each = _each(before, _requests(rig.a), _EVENTS)
    rig.a.kill(writer)
    lines = [
        f"event(): {rig.a.root('tail -n 1 /tmp/costs').strip()}",
        _told("requests an event", each, least=0.02),
    ]
    for words in ("", " --service"):
        before = _requests(rig.a)
        sidecar = rig.a.spawn(SIDECAR + words, env=environment(options))
        if verdict.waiting(rig):
            verdict.await_delivery(rig)
            lines.append(
                _told(
                    "requests of a sidecar for an event",
                    _each(before, _requests(rig.a), _WARM + _EVENTS),
                    least=0.02,
                )
            )
        time.sleep(20)
        before = _requests(rig.a)
        time.sleep(60)
        after = _requests(rig.a)
        rig.a.kill(sidecar)
        minute = {name: after[name] - before.get(name, 0) for name in after}
        lines.append(_told(f"requests a minute of an idle sidecar{words}", minute, least=1))
    return Verdict(holds=True, lines=lines)


def _requests(host):
    """Give the requests to the server by their kind, as the kernel counts them for the mount."""
    counts, is_ours = {}, False
    for line in host.root("cat /proc/self/mountstats").splitlines():
        words = line.split()
        if line.startswith("device"):
            is_ours = " /home " in line
        elif is_ours and len(words) > 8 and words[0].endswith(":") and words[0][:-1].isupper():
            counts[words[0][:-1]] = int(words[1])
    return counts


def _each(before, after, events):
    return {name: round((after[name] - before.get(name, 0)) / events, 2) for name in after}


def _told(title, counts, least):
    kinds = {name: count for name, count in counts.items() if count >= least}
    return f"{title}: {sum(kinds.values()):.2f} {kinds}"


def _await_file(host, path):
    host.root(f"until [ -e {path} ]; do sleep 0.1; done", timeout_s=120)
