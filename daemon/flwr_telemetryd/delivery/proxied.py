"""The way to a collector through ``requests``: through a proxy, or to an address that needs its rules.

Hardly any sidecar goes this way, and loading ``requests`` takes as long as all else that a sidecar does. So
``direct.py`` is the usual way.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
from collections.abc import Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3
from requests.adapters import HTTPAdapter

from flwr_telemetry.named import Any

from .connection import InStep
from .deadline import opened
from .direct import Answer

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    _Connection = urllib3.connection.HTTPConnection
else:
    _Connection = object


class Proxied:
    """A session with one collector.

    Args:
        url: the collector.
        proxy: the URL of the proxy; None without one.
    """

    def __init__(self, url: str, proxy: str | None) -> None:
        self._url = url
        self._session = requests.Session()
        # With trust_env, requests would send credentials from .netrc, and choose the proxy itself.
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Otherwise requests reads the whole answer of a redirect, to prepare the next request.
        self._session.get_redirect_target = lambda _answer: None  # type: ignore[method-assign,assignment]
        self._session.headers.clear()
        if proxy is not None:
            self._session.proxies = dict.fromkeys(("http", "https"), proxy)
        self.secure(None)

    def secure(self, context: ssl.SSLContext | None) -> None:
        """Trust the certificates of a context from now on; None without TLS."""
        self._session.mount("http://" if context is None else "https://", InStepAdapter(context))

    @contextlib.contextmanager
    def request(
        self, method: str, headers: Mapping[str, str], data: bytes | None, connect_s: float, read_s: float
    ) -> Iterator[Answer]:
        """As ``Direct.request``; the errors are those of ``requests``."""
        options: dict[str, Any] = {"allow_redirects": False, "stream": True, "timeout": (connect_s, read_s)}
        with self._session.request(method, self._url, headers=headers, data=data, **options) as answer:
            yield Answer(answer.status_code, answer.headers, functools.partial(_beginning, answer))

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _beginning(answer: requests.Response, most_bytes: int) -> bytes:
    with contextlib.suppress(OSError, ValueError, urllib3.exceptions.HTTPError):
        return bytes(answer.raw.read(most_bytes, decode_content=False))
    return b""


class _InTime(_Connection):
    """Mixed into a connection of urllib3: opens it in time."""

    def connect(self) -> None:
        """Open the connection; close what was opened, if the rest takes too long."""
        try:
            super().connect()
        except BaseException:
            self.close()
            raise

    def _new_conn(self) -> socket.socket:
        return opened(super()._new_conn)


@functools.cache
def _in_step(pool: type[Any]) -> type[Any]:
    """A class of pools like ``pool``, whose connections stay in step."""
    connection = type("InStepConnection", (InStep, _InTime, pool.ConnectionCls), {})
    return type("InStepPool", (pool,), {"ConnectionCls": connection})


def _keep_in_step(manager: Any) -> None:
    classes = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _in_step(pool) for scheme, pool in classes.items()}


class InStepAdapter(HTTPAdapter):
    """Opens such connections.

    Args:
        context: the certificates to trust; None for a URL without TLS. ``verify`` of a request is ignored.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        if context is not None and urllib3.__version__.startswith("1."):  # type: ignore[attr-defined]
            # It names no server to OpenSSL if that is an address, and compares the names itself.
            context.check_hostname = False
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Prepare for connections without a proxy."""
        super().init_poolmanager(*args, **options, ssl_context=self._context)
        _keep_in_step(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Prepare for connections through ``proxy``."""
        if proxy in self.proxy_manager:
            return self.proxy_manager[proxy]
        options["ssl_context"] = self._context
        if not proxy.lower().startswith("socks"):
            options["proxy_ssl_context"] = self._context
        manager = super().proxy_manager_for(proxy, **options)
        _keep_in_step(manager)
        return manager

    def cert_verify(self, conn: Any, _url: Any, _verify: Any, _cert: Any) -> None:
        """Leave all to the context. Otherwise requests loads certifi's certificates for every connection."""
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Do so here, too (requests from 2.32 on)."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}
