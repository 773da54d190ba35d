"""A Ray program whose first worker starts the sidecar; then the worker is killed with all its children.

It reports by Flower's function: five events in each of two workers, one after the other, and five in the
driver. It prints the sidecar that the first worker started, whether that outlived the worker, and the sidecar
at the end.
"""

import json
import os
from pathlib import Path

import psutil
import ray

from tests.support import processes

HOME = Path(os.environ["FLWR_HOME"])


def report(first):
    from flwr.common import EventType, event

    for number in range(first, first + 5):
        assert event(EventType.PING, {"n": number}).result() == "spooled"


@ray.remote
class Worker:
    def report(self, first):
        report(first)
        return os.getpid()


def lives(pid):
    """Whether there is such a process that is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


ray.init(num_cpus=1, include_dashboard=False)
worker = Worker.remote()
pid = ray.get(worker.report.remote(0))
first = processes.running_sidecar(HOME)
ray.kill(worker)
processes.wait_until(lambda: not lives(pid))
# Ray kills the sidecar when it next checks its children, as at the start of the next worker.
worker = Worker.remote()
ray.get(worker.report.remote(5))
outlived = lives(first)
report(10)
last = processes.running_sidecar(HOME)
print(json.dumps({"first": first, "outlived": outlived, "last": last}))  # noqa: T201 - its result
