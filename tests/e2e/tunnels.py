"""A server on loopback that carries each connection to another port, and counts the bytes of both ways."""

import select
import socket
import socketserver
import threading


class Tunnels(socketserver.ThreadingTCPServer):
    """Listens on 127.0.0.1 while its ``with`` block lasts."""

    daemon_threads = False  # so that server_close waits for all threads
    request_queue_size = 256

    def __init__(self, to_port):
        super().__init__(("127.0.0.1", 0), _Connection)
        self._to_port = to_port
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._lock = threading.Lock()
        self.reset()

    def reset(self):
        """Count from zero."""
        with self._lock:
            self.counts = {"sent_bytes": 0, "received_bytes": 0, "connections": 0}

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self._stopping.set()
        self.server_close()

    @property
    def port(self):
        return self.server_address[1]

    def serve(self, connection):
        """Serve one client; a subclass may read a head first."""
        self.carry(connection)

    def carry(self, connection):
        """Carry both ways until both sides have ended, or until this server ends."""
        self._count("connections", 1)
        with socket.create_connection(("127.0.0.1", self._to_port)) as server:
            other = {connection: (server, "sent_bytes"), server: (connection, "received_bytes")}
            unfinished = [connection, server]
            while unfinished and not self._stopping.is_set():
                for ready in select.select(unfinished, [], [], 0.05)[0]:
                    target, name = other[ready]
                    try:
                        data = ready.recv(65536)
                        self._count(name, len(data))
                        if data:
                            target.sendall(data)
                        else:
                            unfinished.remove(ready)
                            target.shutdown(socket.SHUT_WR)
                    except OSError:
                        return  # one side was faster to end

    def _count(self, name, more):
        with self._lock:
            self.counts[name] += more


class _Connection(socketserver.BaseRequestHandler):
    def handle(self):
        self.server.serve(self.request)
