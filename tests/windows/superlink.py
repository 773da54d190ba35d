"""A SuperLink of an unchanged Flower on Windows: ``python -m tests.windows.superlink DIRECTORY-OF-FLOWER``.

It runs under ``flwr-telemetry run``. Its event goes through the spool, and a sidecar that the SuperLink
itself has started delivers it. The exit code is 0 if that happens.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil

from tests.support import homes, processes
from tests.support.collector import Collector

PATIENCE_S = 200.0
EVENT = "RUN_SUPERLINK_ENTER"

ARGUMENTS = ["flower-superlink", "--insecure", "--isolation=process", "--host=127.0.0.1", "--port=19094"]
ARGUMENTS += ["--fleet-api-address=127.0.0.1:19092", "--control-api-address=127.0.0.1:19093"]
CODE = """
import sys
sys.argv = {arguments!r}
from flwr.superlink.cli import flower_superlink
sys.exit(flower_superlink())
"""


def run(flower):
    said = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, Collector() as collector:
        home = Path(directory, "home", ".flwr")
        home.parent.mkdir()
        homes.configure(home, collector.url, respawn_s=10)
        command = [sys.executable, "-c", CODE.format(arguments=ARGUMENTS)]

        def is_over():
            return child.poll() is not None or EVENT in {one["event_type"] for one in collector.events()}

        child = processes.start(
            home,
            ["-m", "flwr_telemetryd.cli", "run", "--", *command],
            # Nothing but the sidecar may send, so https leads nowhere.
            env={"PYTHONPATH": flower, "https_proxy": "http://127.0.0.1:9", "USERPROFILE": directory},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        thread = threading.Thread(target=lambda: said.extend(child.stdout))
        thread.start()
        try:
            processes.wait_until(is_over, PATIENCE_S, EVENT)
            event = next(one for one in collector.events() if one["event_type"] == EVENT)
        except (AssertionError, StopIteration):
            sys.stdout.write("".join(said))
            raise
        finally:
            with contextlib.suppress(psutil.Error):
                for started in psutil.Process(child.pid).children(recursive=True):
                    started.kill()
            child.kill()
            child.wait()
            processes.end_all(home)
            thread.join()
            child.stdout.close()
    flower_version = event["context"]["flower"]["package_version"]
    sys.stdout.write(f"{EVENT} of Flower {flower_version} on {os.name} was delivered\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
