"""A TLS collector in a process of its own, so that its work is nobody's: ``python -m … DIRECTORY``.

It obeys one word a line on its standard input (``counts``, ``reset``, ``hang``, ``answer``; ``unzip`` to say
that it takes compressed bodies, ``plain`` not to) with one line of JSON each, and ends with its input. The
authorities that it writes for its clients are those that an installation has, and its own: to read them is
part of what TLS costs.
"""

import gzip
import json
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import certifi
import trustme

from tests.benchmarks.forwarder import Forwarder
from tests.support.collector import Answer
from tests.support.tls import TlsCollector

MARK = b"num-supernodes"  # the name of a detail that stands once in each event, see programs/


class _Counting(TlsCollector):
    """Keeps no body."""

    def __init__(self, certificate):
        super().__init__(certificate)
        self.counts = {"requests": 0, "events": 0}
        self.hangs = self.unzips = False

    def take(self, request):
        if self.hangs:
            return Answer(manner="hang")
        events = _events_in(request)
        with self._lock:
            self.counts["requests"] += 1
            self.counts["events"] += events
        headers = {"Content-Type": request.headers.get("content-type", "text/plain")}
        if self.unzips:
            headers["Accept-Encoding"] = "gzip"
        return Answer(200, headers, b"{}")


def _events_in(request):
    body = request.body
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    elif request.headers.get("content-encoding") == "deflate":
        body = zlib.decompress(body)
    if b'"burst":{"count":' in body:
        return int(json.loads(body)["burst"]["count"])
    return body.count(MARK)


def main(directory):
    """Serve until the input ends."""
    authority = trustme.CA()
    bundle = directory / "authorities.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    collector = _Counting(authority.issue_cert("127.0.0.1"))
    with collector, Forwarder(collector.port) as forwarder:
        _tell({"port": collector.port, "counted_port": forwarder.port, "bundle": str(bundle)})
        for line in sys.stdin:
            word = line.strip()
            if word == "reset":
                collector.counts.update(requests=0, events=0)
                forwarder.reset()
            elif word in {"hang", "answer"}:
                collector.hangs = word == "hang"
            elif word in {"unzip", "plain"}:
                collector.unzips = word == "unzip"
            counted = {
                name: getattr(forwarder, name) for name in ("sent_bytes", "received_bytes", "connections")
            }
            _tell({**collector.counts, **counted})


def _tell(what):
    print(json.dumps(what), flush=True)


@dataclass(frozen=True, slots=True)
class Counts:
    """What has come since the last reset; the bytes are those through the counted way alone."""

    requests: int
    events: int
    sent_bytes: int
    received_bytes: int
    connections: int


class Collecting:
    """The process, from outside."""

    def __init__(self, directory):
        command = [sys.executable, "-m", __name__, str(directory)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        told = self._answer()
        self.bundle = told["bundle"]
        self.origin, self.counted_origin = (
            f"https://127.0.0.1:{told[name]}" for name in ("port", "counted_port")
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.communicate()

    def ask(self, word="counts"):
        """Give it a word; it tells what it has counted."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return Counts(**self._answer())

    def _answer(self):
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
