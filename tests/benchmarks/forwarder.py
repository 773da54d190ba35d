"""A forwarder on loopback that counts the bytes of both ways: what TCP carries."""

import socket
import socketserver
import threading


class Forwarder:
    """Listens on 127.0.0.1 while its ``with`` block lasts, and forwards to another port.

    Attributes:
        sent_bytes: what went to that port so far.
        received_bytes: what came from it.
        connections: how many there were.
    """

    def __init__(self, port):
        self._to_port = port
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.forwarder = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._lock = threading.Lock()
        self.reset()

    def reset(self):
        """Begin to count anew."""
        with self._lock:
            self.sent_bytes = self.received_bytes = self.connections = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self):
        """Where it listens."""
        return int(self._server.server_address[1])

    def carry(self, connection):
        """Carry both ways until both sides have ended."""
        with self._lock:
            self.connections += 1
        with socket.create_connection(("127.0.0.1", self._to_port)) as server:
            back = threading.Thread(target=self._one_way, args=(server, connection, "received_bytes"))
            back.start()
            self._one_way(connection, server, "sent_bytes")
            back.join()

    def _one_way(self, source, target, counter):
        try:
            while data := source.recv(65536):
                with self._lock:
                    setattr(self, counter, getattr(self, counter) + len(data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return  # one side was faster to end


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256


class _Connection(socketserver.BaseRequestHandler):
    def handle(self):
        self.server.forwarder.carry(self.request)
