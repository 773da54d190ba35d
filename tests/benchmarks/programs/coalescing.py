"""A spool to its outbox, beside decoding alone, in turn: ``python coalescing.py HOME KIND EVENTS ROUNDS``.

Prints seconds of wall time a round, for both: reading what is in the page's cache, and for us writing the
bodies, fsync and all.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import decoding
import spooling

from flwr_telemetry.layout import Home
from flwr_telemetryd.outbox import batch

_dumps = json.JSONEncoder(separators=(",", ":")).encode


def coalesce(host):
    bodies, begin = 0, time.perf_counter()
    while (taken := batch.take(host, "owner", time.time_ns())) is not None:
        bodies += batch.write(taken, bursts=True, hardware={"cpu_count_physical": 4, "memory_gib": 16}).bodies
        batch.commit(taken)
    return time.perf_counter() - begin, bodies


def decode(host, use=bool):
    begin = time.perf_counter()
    for path in sorted(host.spool.glob("*.msgpack")):
        decoding.decode(path.read_bytes(), use)
    return time.perf_counter() - begin


def own_in_json(event):
    """What no body can do without of an event that shares nothing but its kind with others."""
    context = event["context"]
    _dumps([event["event_details"], context["cluster"], context["date"]])


def main(home: Path, kind: str, events: int, rounds: int) -> None:
    found = []
    kept = home / "kept" / kind / "spool"
    spooling.write(kind, events, kept)
    for number in range(rounds):
        host = Home(home / str(number)).host()
        host.telemetry.mkdir(mode=0o700, parents=True)
        host.root.mkdir(mode=0o700)
        shutil.copytree(kept, host.spool)
        decode_s = decode(host)
        json_s = decode(host, own_in_json)
        coalesce_s, bodies = coalesce(host)
        found.append({"coalesce_s": coalesce_s, "decode_s": decode_s, "json_s": json_s, "bodies": bodies})
        shutil.rmtree(home / str(number))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
