"""Decoding alone, the floor under coalescing: msgpack over the bytes of a spool, then over each payload."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgpack

CHUNK_BYTES = 256 * 1024


def decode(data: bytes, use: Callable[[dict], object] = bool) -> int:
    """Decode all records of a segment, and do something with each; how many there are."""
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    count = 0
    for start in range(0, len(data), CHUNK_BYTES):
        unpacker.feed(data[start : start + CHUNK_BYTES])
        for _checksum, payload in unpacker:
            use(msgpack.unpackb(payload))
            count += 1
    return count


def all_in(spool: Path) -> tuple[int, float]:
    """Decode every segment of a spool: how many records, and in how many seconds of processor time."""
    count, busy_s = 0, 0.0
    for path in sorted(spool.glob("*.msgpack")):
        data = path.read_bytes()
        before = time.process_time()
        count += decode(data)
        busy_s += time.process_time() - before
    return count, busy_s


if __name__ == "__main__":
    print(json.dumps(all_in(Path(sys.argv[1]))))
