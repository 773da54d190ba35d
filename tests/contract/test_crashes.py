"""Promise 4: nothing accepted is lost and nothing counts twice, whenever a process dies."""

import os
import signal
import subprocess

import pytest

from tests.support import homes, processes, records, wire
from tests.support.collector import Answer


def _settle(home, collector, numbers):
    processes.deliver(home, times=5)
    assert wire.serials(collector.events()) == numbers
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize(
    ("bursts", "deaths"), [(False, (2, 5, 9, 12)), (True, (1, 3, 6))], ids=["bodies", "a split burst"]
)
@pytest.mark.parametrize("took", [True, False], ids=["taken", "not taken"])
def test_kill_amid_requests(home, collector, bursts, deaths, took):
    """The next sidecar sends the body of a request that was under way again, under the same key."""

    def murder(request):
        burst = b'"burst":' in request.body
        if len(collector.requests) in deaths:
            for pid in processes.sidecars(home):
                os.kill(pid, signal.SIGKILL)
            return Answer(manner="close", took=took and not burst)
        return 422 if burst else 200

    homes.configure(home, collector.url, bursts=bursts)
    homes.put(home, records.series(20))
    collector.answer_by(murder)
    for _ in range(4):
        processes.once(home)
    _settle(home, collector, list(range(20)))


def test_a_workload_killed_amid_its_events_tears_nothing(home, collector):
    """Workloads killed while they emit leave whole records only, and all they told of is delivered."""
    homes.configure(home, collector.url)
    code = """
n = int(sys.argv[1])
while True:
    assert outcome(event("PING", {"n": n})) == "spooled"
    os.write(1, b"%d\\n" % n)
    n += 1
"""
    told = set()
    for turn in range(5):
        start = turn * 1_000_000
        child = processes.start(
            home, ["-c", processes.PRELUDE + code, str(start)], processes.NEVER, stdout=subprocess.PIPE
        )
        seen = [int(child.stdout.readline()) for _ in range(10 + 37 * turn)]
        child.kill()
        rest, _ = child.communicate()
        told |= {*seen, *map(int, rest.split())}
    assert {event["event_details"]["n"] for event in homes.spooled(home)} >= told
    processes.deliver(home)
    numbers = wire.serials(collector.events())
    assert set(numbers) >= told
    assert len(numbers) == len(set(numbers))
