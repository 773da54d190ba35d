"""A TLS collector in a process of its own, so that no figure includes its work: ``python -m … DIRECTORY``.

It reads one command a line from its standard input: ``counts``, ``reset``, ``hang``, ``answer``, ``unzip``
(it takes compressed bodies) or ``plain``. It answers each with its counts, as one line of JSON. It ends with
its input. Its authority stands among certifi's, because reading them is part of the cost of TLS: in one file,
as certifi has them, and in a directory where OpenSSL finds each by its name, as Debian has them.
"""

import gzip
import json
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import certifi
import trustme

from tests.e2e.tunnels import Tunnels
from tests.support.collector import Answer
from tests.support.tls import TlsCollector

_END = "-----END CERTIFICATE-----"
MARK = b"num-supernodes"  # each event of the programs has one detail of this name


class _Counting(TlsCollector):
    """Counts requests and events, and keeps no body."""

    def __init__(self, certificate):
        super().__init__(certificate)
        self.reset()
        self.hangs = self.unzips = False

    def reset(self):
        self.counts = {"requests": 0, "events": 0, "first_s": 0.0}

    def take(self, request):
        if self.hangs:
            return Answer(manner="hang")
        events = _count_events(request)
        with self._lock:
            self.counts["first_s"] = self.counts["first_s"] or time.monotonic()
            self.counts["requests"] += 1
            self.counts["events"] += events
        headers = {"Content-Type": request.headers.get("content-type", "text/plain")}
        if self.unzips:
            headers["Accept-Encoding"] = "gzip"
        return Answer(200, headers, b"{}")


def _count_events(request):
    decode = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(
        request.headers.get("content-encoding")
    )
    body = decode(request.body) if decode else request.body
    if b'"burst":{"count":' in body:
        return int(json.loads(body)["burst"]["count"])
    return body.count(MARK)


def main(directory):
    authority = trustme.CA()
    bundle = directory / "authorities.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    store = directory / "authorities"
    store.mkdir()
    for number, certificate in enumerate(bundle.read_text().split(_END)[:-1]):
        (store / f"{number}.pem").write_text(f"{certificate}{_END}\n")
    subprocess.run(["openssl", "rehash", store], check=True)
    collector = _Counting(authority.issue_cert("127.0.0.1"))
    with collector, Tunnels(collector.port) as tunnels:
        ports = {"port": collector.port, "counted_port": tunnels.port}
        print(json.dumps({**ports, "bundle": str(bundle), "store": str(store)}), flush=True)
        for line in sys.stdin:
            command = line.strip()
            if command == "reset":
                collector.reset()
                tunnels.reset()
            elif command in {"hang", "answer"}:
                collector.hangs = command == "hang"
            elif command in {"unzip", "plain"}:
                collector.unzips = command == "unzip"
            print(json.dumps({**collector.counts, **tunnels.counts}), flush=True)


class Collecting:
    """Starts this process, and gives it commands."""

    def __init__(self, directory):
        command = [sys.executable, "-m", __name__, str(directory)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        told = self._answer()
        self.bundle, self.store = told["bundle"], told["store"]
        self.origin = f"https://127.0.0.1:{told['port']}"
        self.counted_origin = f"https://127.0.0.1:{told['counted_port']}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.communicate()

    def ask(self, command="counts"):
        """Give a command; the counts since the last reset.

        They are ``requests`` and ``events``, the moment of the first request (``first_s``, monotonic), and of
        the counted port ``sent_bytes``, ``received_bytes`` and ``connections``.
        """
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return SimpleNamespace(**self._answer())

    def _answer(self):
        return json.loads(self._process.stdout.readline())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
