"""A Ray program whose first worker starts the sidecar, and is then killed with all its children.

Reports by Flower's function, five events in each of two workers that live one after the other, and five in
the driver. Prints which sidecar the first worker started, whether it outlived that worker, and which one
there is at the end.
"""

import json
import os
import pathlib
import time

import psutil
import ray

PATIENCE_S = 60.0


@ray.remote
class Worker:
    """A process of its own, under Ray's care."""

    def report(self, first):
        """Report five events, and tell who we are."""
        report(first)
        return os.getpid()


def report(first):
    """Report five events."""
    from flwr.common import EventType, event

    for number in range(first, first + 5):
        assert event(EventType.PING, {"n": number}).result() == "spooled"


def wait_for(condition):
    """Poll until it holds, and give its value."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline_s, condition
        time.sleep(0.01)
    return value


def lives(pid):
    """Whether there is such a process, a zombie not counted."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def sidecar():
    """Give the process id of the living sidecar of this home, if there is one."""
    for path in pathlib.Path(os.environ["FLWR_HOME"]).glob("telemetry/*/sidecar.json"):
        try:
            pid = json.loads(path.read_text())["pid"]
        except ValueError:  # it is just being written
            continue
        if lives(pid):
            return pid
    return None


ray.init(num_cpus=1, include_dashboard=False)
worker = Worker.remote()
pid = ray.get(worker.report.remote(0))
first = wait_for(sidecar)
ray.kill(worker)
wait_for(lambda: not lives(pid))
# Ray kills it at its next look at its children; the next worker's start is one.
worker = Worker.remote()
ray.get(worker.report.remote(5))
outlived = lives(first)
report(10)
print(json.dumps({"first": first, "outlived": outlived, "last": wait_for(sidecar)}))  # noqa: T201 - told
