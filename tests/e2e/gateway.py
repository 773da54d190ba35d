"""The way out for a Flower that is as Flower made it: a proxy on loopback with a collector behind it.

Flower's own telemetry goes to ``https://telemetry.flower.ai``, through the proxy that the environment names
and by the authorities that it names. So an unmodified Flower delivers to a collector of ours, over real
TLS, and no byte leaves this machine: the proxy knows no other host.
"""

import json
import select
import socket
import socketserver
import threading

import trustme

from tests.support.collector import Answer
from tests.support.tls import TlsCollector

FLOWERS_HOST = "telemetry.flower.ai"
FLOWERS_PATH = "/api/v1/event"
_RAYS = ("169.254.169.254", "metadata.google.internal", "usage-stats.ray.io")
_NO_PROXY = "127.0.0.1,localhost,::1,0.0.0.0"


class _FlowersCollector(TlsCollector):
    """Keeps every request, for Flower sends no idempotency keys."""

    def take(self, request):
        with self._lock:
            self._requests.append(request)
            reply = self._decide(request)
        return reply if isinstance(reply, Answer) else Answer(200)


class Gateway:
    """Listens on 127.0.0.1 while its `with` block lasts.

    Args:
        directory: where the certificate of its authority is written.
        silent: never answer a request.
    """

    def __init__(self, directory, *, silent=False):
        authority = trustme.CA()
        self._bundle = directory / "gateway.pem"
        authority.cert_pem.write_to_path(str(self._bundle))
        self._collector = _FlowersCollector(authority.issue_cert(FLOWERS_HOST))
        if silent:
            self._collector.answer_by(lambda _request: Answer(manner="hang"))
        self._proxy = _Proxy(self._collector.port)
        self._thread = threading.Thread(target=self._proxy.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self):
        self._collector.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._proxy.shutdown()
        self._thread.join()
        self._proxy.stopping.set()
        self._proxy.server_close()
        self._collector.__exit__(*exception)

    @property
    def environment(self):
        """By which a process finds the way out, and nothing else."""
        proxy = f"http://127.0.0.1:{self._proxy.server_address[1]}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        return {
            **dict.fromkeys(names, proxy),
            **dict.fromkeys(("no_proxy", "NO_PROXY"), _NO_PROXY),
            "SSL_CERT_FILE": str(self._bundle),
        }

    @property
    def asked_for(self):
        """What somebody wanted to reach, by host or address; but for whom Ray asks of itself."""
        return [target for target in self._proxy.asked_for if not any(host in target for host in _RAYS)]

    def events(self):
        """Give the events that Flower itself has sent, in order of arrival."""
        requests = self._collector.requests
        assert {(request.method, request.path) for request in requests} <= {("POST", FLOWERS_PATH)}
        return [json.loads(request.body) for request in requests]


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = False  # so that server_close waits for every tunnel
    request_queue_size = 256

    def __init__(self, collector_port):
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.collector_port = collector_port
        self.asked_for = []
        self.stopping = threading.Event()


class _Tunnel(socketserver.StreamRequestHandler):
    def handle(self):
        method, target, *_ = [*self.rfile.readline().decode("latin-1").split(), "", ""]
        while self.rfile.readline().strip():
            pass  # the rest of the head
        self.server.asked_for.append(target)
        if (method, target) != ("CONNECT", f"{FLOWERS_HOST}:443"):
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.server.collector_port)) as collector:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._carry({self.connection: collector, collector: self.connection})

    def _carry(self, other):
        while not self.server.stopping.is_set():
            for ready in select.select(list(other), [], [], 0.05)[0]:
                try:
                    data = ready.recv(65536)
                    other[ready].sendall(data)
                except OSError:
                    return
                if not data:
                    return
