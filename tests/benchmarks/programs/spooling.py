"""Write a spool of one kind, in the bytes of the emitter: ``python spooling.py KIND EVENTS SPOOL``.

It writes sealed segments of at most 4 MiB, as a sidecar seals them.
"""

import itertools
import os
import sys
import time
import uuid
from pathlib import Path

from flwr_telemetry import packing, record
from flwr_telemetry.identity import static_context
from flwr_telemetryd.spool import segments

SEGMENT_BYTES = 4 * 1024 * 1024
SOURCE = str(uuid.uuid4())
STATIC = static_context("flwr", ("flwr", "1.41.0"))
START_US = time.time_ns() // 1000 - 3_600_000_000
DETAILS = {"backend": "ray", "num-supernodes": 10}


def workload():
    """The context of a new workload."""
    identity = {"partner": "unavailable", "source": SOURCE, "cluster": str(uuid.uuid4())}
    return packing.context_parts(identity, STATIC)


def equal():
    """The same event again and again."""
    context = workload()
    while True:
        yield "PING", DETAILS, context


def workloads():
    """Enter and leave of workloads, each with its own cluster ID and ``run-id-hash``."""
    while True:
        context, run = workload(), {**DETAILS, "run-id-hash": os.urandom(32).hex()}
        yield "FLWR_SIMULATION_RUN_ENTER", run, context
        yield "FLWR_SIMULATION_RUN_LEAVE", {**run, "success": True}, context


def distinct():
    """Every detail has another value in each event."""
    context = workload()
    for number in itertools.count():
        details = {"backend": f"ray-{number}", "num-supernodes": number, "fraction": number / 7}
        yield "PING", details, context


def apart():
    """No two events can share a body, because the names of their details differ."""
    context = workload()
    for number in itertools.count():
        yield "PING", {**DETAILS, f"name-{number}": number}, context


KINDS = {kind.__name__: kind for kind in (equal, workloads, distinct, apart)}


def segments_of(kind, count):
    """The bytes of so many records, a millisecond apart, in pieces that a segment holds."""
    piece = bytearray()
    for number, (event_type, details, context) in enumerate(itertools.islice(KINDS[kind](), count)):
        head, date = packing.event_head(event_type), START_US + 1000 * number
        one = packing.frame(packing.assemble(head, record.pack(details), context, date))
        if len(piece) + len(one) > SEGMENT_BYTES:
            yield bytes(piece)
            piece.clear()
        piece += one
    yield bytes(piece)


def write(kind, count, spool):
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    for directory in (spool.parents[1], spool.parent, spool):
        directory.chmod(0o700)
    for number, data in enumerate(segments_of(kind, count)):
        path = spool / segments.sealed_name(time.time_ns() + number)
        path.write_bytes(data)
        path.chmod(0o600)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    print("null")
