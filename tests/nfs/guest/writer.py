"""A workload: ``writer.py COUNT PACE NOTES``.

It reports COUNT events, each with a tag, and rests PACE seconds after each (``flat``: never; ``ragged``: at
random). At the end it waits until nothing is in memory any more.
NOTES is a file, or ``udp:HOST:PORT``. Its lines:

    <word> <microseconds> <time> <tag>   ``spooled``, ``memory`` (the server is slow) or ``failed``
    # <sentence>                         what the future said instead, each sentence once
"""

import os
import random
import socket
import sys
import time
import uuid

from flwr_telemetry import event, flush

_DRAIN_S = 3.0
"""``flush`` does not wait for a server that has just been slow."""
_FLUSH_S = 10.0
_ENOUGH = "/tmp/enough"
"""Once it exists, no more events are reported."""


def _teller(where):
    """A function that notes one line, without buffering."""
    if where.startswith("udp:"):
        _, host, port = where.split(":")
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return lambda line: sending.sendto(line.encode(), (host, int(port)))
    file = os.open(where, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    return lambda line: os.write(file, line.encode())


class Workload:
    """Reports events, and tells what became of each."""

    def __init__(self, tell):
        self._tell = tell
        self._name, self._number = uuid.uuid4().hex, 0
        self._said = set()

    def report(self):
        tag = f"{self._name}-{self._number}"
        self._number += 1
        began = time.monotonic()
        future = event("PING", {"tag": tag})
        error = future.exception()
        took_us = (time.monotonic() - began) * 1e6
        told = future.result() if error is None else f"{type(error).__name__}: {error}"
        is_waiting = told.startswith("SpoolSlowError: in memory")
        word = told if told == "spooled" else "memory" if is_waiting else "failed"
        self._tell(f"{word} {took_us:.0f} {time.time():.6f} {tag}\n")
        if word != "spooled" and told not in self._said:
            self._said.add(told)
            self._tell(f"# {told}\n")


def _pause(pace, chance):
    if pace == "ragged":
        draw = chance.random()
        time.sleep(chance.random() * (2 if draw < 0.05 else 0.02) if draw < 0.5 else 0)
    elif pace != "flat":
        time.sleep(float(pace))


def main(count, pace, where):
    workload, chance = Workload(_teller(where)), random.Random()
    for _ in range(int(count)):
        workload.report()
        _pause(pace, chance)
        if os.path.exists(_ENOUGH):
            break
    time.sleep(_DRAIN_S)
    flush(_FLUSH_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
