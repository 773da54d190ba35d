"""Posts bodies over many connections, each of which waits for its answer: ``posting.py URL COUNT SECONDS``.

Every body is one burst of Flower's events, of a source and workloads of its own. The last line printed is
JSON: the answers by status, the events in them, the seconds, and each answer's time in seconds.
"""

import asyncio
import collections
import json
import random
import sys
import time
from urllib.parse import urlsplit

EVENTS = 4
_BODY = {
    "event_type": "PYTHON_API_RUN_SIMULATION_ENTER",
    "event_details": {"num-supernodes": 10, "backend": "ray", "run-id-hash": "0" * 64},
    "context": {
        "partner": "unavailable",
        "source": "SOURCE",
        "cluster": "CLUSTER",
        "date": "2026-11-22T10:00:00.123456+00:00",
        "flower": {"package_name": "flwr", "package_version": "1.42.0"},
        "hw": {"cpu_count": 8, "cpu_count_physical": 4, "memory_gib": 16},
        "platform": {
            "system": "Linux",
            "release": "6.1.0",
            "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
            "python_implementation": "CPython",
            "python_version": "3.11.9",
            "machine": "x86_64",
            "architecture": ["64bit", "ELF"],
            "version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.106-3 (2024-08-26)",
        },
    },
}


def _uuid(chance):
    text = f"{chance.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _templates():
    clusters = ["CLUSTER", *(f"CLUSTER{n}" for n in range(1, EVENTS))]
    rows = [[n, 1000 * n, f"{n}" * 64] for n in range(EVENTS)]
    burst = {"count": EVENTS, "clusters": clusters, "varying": ["run-id-hash"], "events": rows}
    return json.dumps({**_BODY, "burst": burst}, separators=(",", ":"))


class Client(asyncio.Protocol):
    """One connection; ``done`` is called with the status of each answer."""

    def __init__(self, run):
        self._run, self._data = run, b""

    def connection_made(self, transport):
        self._transport = transport
        self._next()

    def _next(self):
        if time.monotonic() >= self._run.until:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(self._run.request())

    def data_received(self, data):
        self._data += data
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(rest) < length:
            return
        self._data = b""
        self._run.times.append(time.perf_counter() - self._began)
        self._run.statuses[head[9:12].decode()] += 1
        self._next()

    def connection_lost(self, error):
        self._run.left -= 1
        if not self._run.left:
            self._run.ended.set()


class Run:
    def __init__(self, url, connections, seconds):
        self.address = urlsplit(url)
        self.left = self.connections = connections
        self._chance = random.Random()
        self._body = _templates()
        path, host = self.address.path, self.address.netloc
        self._head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        self.seconds = seconds
        self.statuses, self.times = collections.Counter(), []

    def body(self, source=None):
        """A new body, of a new source or of this one."""
        body = self._body.replace("SOURCE", source or _uuid(self._chance))
        for n in range(EVENTS - 1, 0, -1):
            body = body.replace(f"CLUSTER{n}", _uuid(self._chance))
        return body.replace("CLUSTER", _uuid(self._chance))

    def request(self):
        body = self.body()
        return f"{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    async def run(self):
        self.ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        self.until = began + self.seconds
        for _ in range(self.connections):
            await loop.create_connection(lambda: Client(self), self.address.hostname, self.address.port)
        await self.ended.wait()
        seconds = time.monotonic() - began
        return {"statuses": self.statuses, "events": EVENTS, "seconds": seconds, "times": self.times}


if __name__ == "__main__":
    run = Run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps(asyncio.run(run.run())))
