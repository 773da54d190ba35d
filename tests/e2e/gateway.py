"""A proxy on loopback, with a collector behind it, for an unmodified Flower.

Flower's own telemetry sends to ``https://telemetry.flower.ai``. It uses the proxy and the authorities that
the environment names. So it delivers to our collector over real TLS. No byte leaves this machine, because the
proxy refuses every other host.
"""

import json

import trustme

from tests.e2e.tunnels import Tunnels
from tests.support.collector import Answer
from tests.support.tls import TlsCollector

FLOWERS_HOST = "telemetry.flower.ai"
FLOWERS_PATH = "/api/v1/event"
_RAYS_HOSTS = ("169.254.169.254", "metadata.google.internal", "usage-stats.ray.io")
_NO_PROXY = "127.0.0.1,localhost,::1,0.0.0.0"


class _FlowersCollector(TlsCollector):
    """Keeps every request, because Flower sends no idempotency keys."""

    def take(self, request):
        with self._lock:
            self._requests.append(request)
            reply = self._decide(request)
        return reply if isinstance(reply, Answer) else Answer(200)


class Gateway:
    """Listens on 127.0.0.1 while its ``with`` block lasts."""

    def __init__(self, directory):
        authority = trustme.CA()
        self._bundle = directory / "gateway.pem"
        authority.cert_pem.write_to_path(str(self._bundle))
        self._collector = _FlowersCollector(authority.issue_cert(FLOWERS_HOST))
        self._proxy = _Proxy(self._collector.port)

    def __enter__(self):
        self._collector.__enter__()
        self._proxy.__enter__()
        return self

    def __exit__(self, *exception):
        self._proxy.__exit__(*exception)
        self._collector.__exit__(*exception)

    @property
    def environment(self):
        """The variables by which a process finds this proxy."""
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        return {
            **dict.fromkeys(names, f"http://127.0.0.1:{self._proxy.port}"),
            **dict.fromkeys(("no_proxy", "NO_PROXY"), _NO_PROXY),
            "SSL_CERT_FILE": str(self._bundle),
        }

    @property
    def asked_for(self):
        """The hosts and addresses that a process asked for, without those of Ray."""
        return [target for target in self._proxy.asked_for if not any(host in target for host in _RAYS_HOSTS)]

    def events(self):
        """The events that Flower itself sent, in order of arrival."""
        requests = self._collector.requests
        assert {(request.method, request.path) for request in requests} <= {("POST", FLOWERS_PATH)}
        return [json.loads(request.body) for request in requests]


class _Proxy(Tunnels):
    def __init__(self, collector_port):
        super().__init__(collector_port)
        self.asked_for = []

    def serve(self, connection):
        with connection.makefile("rb", buffering=0) as lines:
            method, target, *_ = [*lines.readline().decode("latin-1").split(), "", ""]
            while lines.readline().strip():
                pass  # the rest of the head
        self.asked_for.append(target)
        if (method, target) == ("CONNECT", f"{FLOWERS_HOST}:443"):
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self.carry(connection)
        else:
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
