"""A collector that speaks TLS."""

import ssl

from tests.support.collector import Collector


class TlsCollector(Collector):
    def __init__(self, certificate, listener=None):
        super().__init__(listener)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.show(certificate)
        # The handshake is the handler's, so that a failed one holds up no other.
        self._server.socket = self._context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def show(self, certificate):
        certificate.configure_cert(self._context)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}/api/v1/event"
