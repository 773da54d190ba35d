"""A collector that speaks TLS."""

import ssl

from tests.support.collector import Collector


class TrustStore:
    """As the context of the package truststore, which puts it in the place of Python's.

    It gives the options on to one of Python's, but neither counts certificates nor hands on other attributes.
    """

    own = ssl.SSLContext

    def __init__(self, protocol):
        vars(self)["_ctx"] = self.own(protocol)
        self._ctx.sslsocket_class = type("TrustStoreSocket", (ssl.SSLSocket,), {})

    def cert_store_stats(self):
        raise NotImplementedError

    def __getattr__(self, name):
        return getattr(self._ctx, name)

    def __setattr__(self, name, value):
        if name in {"options", "verify_flags", "verify_mode", "check_hostname", "keylog_filename"}:
            getattr(self.own.__base__, name).__set__(self._ctx, value)
        else:
            vars(self)[name] = value


class TlsCollector(Collector):
    def __init__(self, certificate, listener=None):
        super().__init__(listener)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.serve_by(context)

    def serve_by(self, context):
        self._context = context
        # The handshake is the handler's, so that a failed one holds up no other.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def show(self, certificate):
        certificate.configure_cert(self._context)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}/api/v1/event"
