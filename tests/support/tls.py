"""A collector that speaks TLS."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from tests.support.collector import Collector

if TYPE_CHECKING:
    import socket

    import trustme


class TlsCollector(Collector):
    """A collector that speaks TLS under a certificate, which may change while it runs."""

    def __init__(self, certificate: trustme.LeafCert, listener: socket.socket | None = None) -> None:
        super().__init__(listener)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.show(certificate)
        # The handshake is the handler's, so that a failed one holds up nobody else.
        self._server.socket = self._context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def show(self, certificate: trustme.LeafCert) -> None:
        """Use this certificate from the next connection on."""
        certificate.configure_cert(self._context)

    @property
    def url(self) -> str:
        """Where to send events."""
        return f"https://127.0.0.1:{self.port}/api/v1/event"
