"""Spool to outbox, beside decoding alone: ``python coalescing.py HOME KIND EVENTS ROUNDS``.

It prints the seconds of each round, in turn. Both read from the page cache. Ours includes writing the bodies,
with fsync. With ``python coalescing.py SPOOL`` it decodes a spool, and prints how many records it has and the
seconds of processor time.
"""

import hashlib
import json
import shutil
import sys
import time
import zlib
from pathlib import Path

import msgpack
import spooling

from flwr_telemetry.layout import Home
from flwr_telemetryd.outbox import batch

CHUNK_BYTES = 256 * 1024
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def coalesce(host):
    bodies, begin = 0, time.perf_counter()
    while (taken := batch.take(host, "owner", time.time_ns())) is not None:
        bodies += batch.write(taken, bursts=True, hardware={"cpu_count_physical": 4, "memory_gib": 16}).bodies
        batch.commit(taken)
    return time.perf_counter() - begin, bodies


def decode(spool, use=None, clock=time.perf_counter):
    """Decode each record of a spool and then its payload; how many there are, and the seconds.

    ``use`` gets the checksum, the payload and the event of each record.
    """
    count, begin = 0, clock()
    for path in sorted(spool.glob("*.msgpack")):
        data = path.read_bytes()
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        for start in range(0, len(data), CHUNK_BYTES):
            unpacker.feed(data[start : start + CHUNK_BYTES])
            for checksum, payload in unpacker:
                event = msgpack.unpackb(payload)
                count += 1
                if use is not None:
                    use(checksum, payload, event)
    return count, clock() - begin


def floor():
    """The work of the libraries: the checksum, and the JSON and the hash of an event's own values."""
    key, crc32 = hashlib.sha256(), zlib.crc32

    def use(checksum, payload, event):
        if checksum != crc32(payload):
            raise ValueError("damage")
        context = event["context"]
        key.update(_dumps([event["event_details"], context["cluster"], context["date"]]).encode())

    return use


def main(home, kind, events, rounds):
    found = []
    kept = home / "kept" / kind / "spool"
    spooling.write(kind, events, kept)
    for number in range(rounds):
        host = Home(home / str(number)).host()
        host.telemetry.mkdir(mode=0o700, parents=True)
        host.root.mkdir(mode=0o700)
        shutil.copytree(kept, host.spool)
        _, decode_s = decode(host.spool)
        _, json_s = decode(host.spool, floor())
        coalesce_s, bodies = coalesce(host)
        found.append({"coalesce_s": coalesce_s, "decode_s": decode_s, "json_s": json_s, "bodies": bodies})
        shutil.rmtree(home / str(number))
    return found


if __name__ == "__main__":
    path, *others = sys.argv[1:]
    if others:
        kind, *numbers = others
        print(json.dumps(main(Path(path), kind, *map(int, numbers))))
    else:
        print(json.dumps(decode(Path(path), clock=time.process_time)))
