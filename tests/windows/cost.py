"""The cost of ``event()`` on Windows: ``python -m tests.windows.cost``.

It is told as a ratio to the least that a writer does there: it opens a file, appends as many bytes, closes
it. The two are measured in turn, because a busy machine slows both down. The exit code is 0 if the ratio is
at most ``MOST``.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROUNDS, EACH = 40, 25
MOST = 3.0


def run():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        home = Path(directory, ".flwr")
        os.environ.update(FLWR_HOME=str(home), FLWR_TELEMETRY_SIDECAR="never")
        from flwr_telemetry import event
        from tests.support import homes

        assert event("PING").result() == "spooled"
        record = homes.open_segment(home).read_bytes()
        beside = homes.spool(home) / "beside"

        def bare():
            descriptor = os.open(beside, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, record)
            os.close(descriptor)

        ratios = [_time_s(lambda: event("PING")) / _time_s(bare) for _ in range(ROUNDS)]
        assert homes.open_segment(home).read_bytes().count(b"PING") == ROUNDS * EACH + 1
    low, ratio, high = statistics.quantiles(ratios)
    sys.stdout.write(
        f"event() costs {ratio:.2f} times open, write and close (quartiles {low:.2f}, {high:.2f})\n"
    )
    return int(ratio > MOST)


def _time_s(call):
    began = time.perf_counter()
    for _ in range(EACH):
        call()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(run())
