"""Ports of loopback."""

import socket
from contextlib import ExitStack


def free(count):
    """Different free ports, because all are held until the last is found."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in held]


def listens(port):
    """Whether a server accepts connections there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(port))) == 0
