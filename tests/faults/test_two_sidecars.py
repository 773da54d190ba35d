"""Several sidecars at once on one home, with and without working locks: renames alone keep things right.

Where locks are pretended, every sidecar takes itself for the only one. Where they are refused, one defers
to another that reports itself alive, so several run only if they come at the same moment. A longer
fight, by hand::

    SIDECARS_ROUNDS=50 pytest -n0 -rP tests/faults/test_two_sidecars.py
"""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import homes, processes, wire
from tests.support.collector import Answer, Collector

NO_LOCKS = Path(__file__).parent.parent / "support" / "nolocks"
ROUNDS = int(os.environ.get("SIDECARS_ROUNDS", "1"))
WRITERS, EVENTS = 3, 60
UNTOUCHED_S = 700.0  # longer than a batch of an unknown owner has to be left alone before it is taken over

WRITER = """
import random, time
chance = random.Random(sys.argv[1])
for n in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3])):
    assert outcome(event(chance.choice(["PING", "PONG"]), {"n": n})) == "spooled"
    os.write(1, b"%d\\n" % n)
    time.sleep(chance.uniform(0, 0.02))
"""

# Keeps so many sidecars alive, forked from itself since that is quick, and kills one now and then, until
# its standard input ends; then it kills them all and tells how each one ended.
KEEPER = """
import collections, json, os, random, select, signal, sys
import encodings.idna, psutil, flwr_telemetryd.__main__, flwr_telemetryd.delivery.http

count, chance = int(sys.argv[1]), random.Random(sys.argv[2])
living, ends, serve = set(), collections.Counter(), True
print("ready", flush=True)
while serve or living:
    if serve and len(living) < count:
        mode = chance.choice([["--once"], ["--once"], []])
        pid = os.fork()
        if pid == 0:
            for stream in range(3):
                os.dup2(os.open(os.devnull, os.O_RDWR), stream)
            status = 70
            try:
                status = flwr_telemetryd.__main__.main(mode)
            except SystemExit as end:
                status = end.code
            finally:
                os._exit(status)
        living.add(pid)
    else:
        serve = serve and not select.select([sys.stdin], [], [], chance.uniform(0, 0.05))[0]
        if not serve or chance.random() < 0.2:
            os.kill(chance.choice(sorted(living)), signal.SIGKILL)
    for pid in sorted(living):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            living.discard(pid)
            ends[os.waitstatus_to_exitcode(status)] += 1
print(json.dumps(ends))
"""


def locks(kind):
    return {"PYTHONPATH": str(NO_LOCKS), "TEST_LOCKS": kind, "FLWR_TELEMETRY_SIDECAR": "never"}


def moods(chance):
    """Answer as a collector on a bad day; always about the request, never about the body."""
    answers = [*[200] * 9, 503, Answer(manner="close", took=True), "close"]
    return lambda _request: chance.choice(answers)


def fight(home, env, count, chance):
    """Let writers emit while sidecars serve and die, until all writers have ended; how sidecars ended."""

    def start(code, *arguments):
        words = ["-c", processes.PRELUDE + code, *map(str, arguments)]
        return processes.start(home, words, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    keeper = start(KEEPER, count, chance.random())
    assert keeper.stdout.readline() == "ready\n"
    writers = [
        start(WRITER, chance.random(), number, EVENTS) for number in range(0, WRITERS * EVENTS, EVENTS)
    ]
    told = [writer.communicate(timeout=processes.PATIENCE_S)[0].split() for writer in writers]
    ends = json.loads(keeper.communicate(timeout=processes.PATIENCE_S)[0])
    assert [process.returncode for process in (*writers, keeper)] == [0] * (WRITERS + 1)
    assert sorted(int(number) for numbers in told for number in numbers) == list(range(WRITERS * EVENTS))
    assert ends.keys() <= {"-9", "0", "1", "4"}
    return ends


def settle(home, env):
    for batch in homes.host(home).glob("work/*"):
        homes.age(batch, UNTOUCHED_S)
    processes.deliver(home, env, times=5)
    assert homes.unsent_files(home) == []


def fight_a_round(home, kind, count, seed):
    chance = random.Random(seed)
    with Collector() as collector:
        homes.configure(home, collector.url, bursts=chance.random() < 0.3, burst_window_s=0.02)
        collector.answer_by(moods(chance))
        ends = fight(home, locks(kind), count, chance)
        collector.answer_by(lambda _request: 200)
        settle(home, locks(kind))
    assert wire.serials(collector.events()) == list(range(WRITERS * EVENTS))
    keys = [request.key for request in collector.requests]
    return {"ends": ends, "requests": len(keys), "again": len(keys) - len(set(keys))}


@pytest.mark.parametrize(
    ("kind", "count"), [("working", 2), ("pretended", 2), ("pretended", 4), ("refused", 4)]
)
def test_sidecars_share_a_home(home, kind, count):
    """Each event is delivered once after de-duplication by key, and nothing is left."""
    for _ in range(ROUNDS):
        seed = random.SystemRandom().randrange(2**32)
        print(f"seed {seed}", end=": ", flush=True)  # noqa: T201
        print(fight_a_round(home, kind, count, seed))  # noqa: T201
        shutil.rmtree(home)
