"""Several interpreters in one process (PEP 734), each with an emitter of its own."""

import pytest

from tests.emitter.conftest import numbers
from tests.support import homes, processes
from tests.support.processes import NEVER

pytest.importorskip("concurrent.interpreters", reason="Python 3.14 added it")

EMIT = """
from flwr_telemetry import event
for n in range(20):
    event("PING", {"n": n}).result()
"""
CODE = f"""
import threading
from concurrent import interpreters

def one():
    inner = interpreters.create()
    inner.exec({EMIT!r})
    inner.exec({EMIT!r})
    inner.close()

threads = [threading.Thread(target=one) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(outcome(event("PING", {{"n": 20}}))))
"""


def test_each_interpreter_reports(home):
    """Also after another one has ended; all write to one spool, each as a workload of its own."""
    assert processes.answers(home, CODE, NEVER) == "spooled"
    assert sorted(numbers(home)) == sorted([*range(20)] * 8 + [20])
    assert len({event["context"]["cluster"] for event in homes.spooled(home)}) == 5
