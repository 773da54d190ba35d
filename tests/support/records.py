"""The record format, written and read by the letter of the design ("Record")."""

import struct
import uuid
import zlib

import msgpack

HEADER_BYTES = 9
_DATE_US = 1_795_000_000_123_456


def frame(payload):
    return (
        b"\x92\xce"
        + struct.pack(">I", zlib.crc32(payload))
        + b"\xc5"
        + struct.pack(">H", len(payload))
        + payload
    )


def encode(payload):
    return frame(msgpack.packb(payload))


def split(segment):
    """Give the payloads of an undamaged segment, and fail at the first byte that is out of place."""
    payloads = []
    at = 0
    while at < len(segment):
        head = segment[at : at + HEADER_BYTES]
        assert len(head) == HEADER_BYTES, f"torn header at {at}"
        assert head[:2] == b"\x92\xce", f"no record at {at}: {head.hex()}"
        assert head[6:7] == b"\xc5", f"no bin 16 at {at}: {head.hex()}"
        (crc,) = struct.unpack(">I", head[2:6])
        (length,) = struct.unpack(">H", head[7:9])
        payload = segment[at + HEADER_BYTES : at + HEADER_BYTES + length]
        assert len(payload) == length, f"torn payload at {at}"
        assert zlib.crc32(payload) == crc, f"wrong checksum at {at}"
        payloads.append(payload)
        at += HEADER_BYTES + length
    return payloads


def decode(segment):
    """Give the events of an undamaged segment."""
    return [msgpack.unpackb(payload) for payload in split(segment)]


def sample(
    details=None,
    *,
    event_type="PING",
    cluster=None,
    source="9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1",
    date_us=_DATE_US,
    **context,
):
    """Give a well-formed event as an emitter would have spooled it."""
    return {
        "event_type": event_type,
        "event_details": {} if details is None else details,
        "context": {
            "partner": "unavailable",
            "source": source,
            "cluster": str(uuid.uuid4()) if cluster is None else cluster,
            "date": date_us,
            "flower": {"package_name": "flwr", "package_version": "1.41.0"},
            "hw": {"cpu_count": 8},
            "platform": {
                "system": "Linux",
                "release": "6.1.0",
                "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
                "python_implementation": "CPython",
                "python_version": "3.11.9",
                "machine": "x86_64",
                "architecture": ["64bit", "ELF"],
                "version": "#1 SMP",
            },
            **context,
        },
    }


def of_datasets(event):
    """Give an event as flwr-datasets has it: `package` in place of `flower`, and no partner."""
    context = {"package" if name == "flower" else name: value for name, value in event["context"].items()}
    del context["partner"]
    return {**event, "context": context}


def series(count, *, start=0, **fields):
    """Give events numbered by their detail `n`, a millisecond apart, of one workload."""
    cluster = str(uuid.uuid4())
    return [
        sample({"n": number}, **{"cluster": cluster, "date_us": _DATE_US + 1000 * number, **fields})
        for number in range(start, start + count)
    ]
