"""A collector: ``collector.py PORT DIRECTORY``. A line of ``DIRECTORY/bodies`` is an accepted request.

While ``DIRECTORY/moody`` exists, it refuses, delays or cuts some of them.
"""

import json
import os
import random
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, DIRECTORY = int(sys.argv[1]), Path(sys.argv[2])
_CHANCE = random.Random(1)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        """Say nothing."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        mood = _CHANCE.random() if (DIRECTORY / "moody").exists() else 1.0
        if mood < 0.08:
            return self._answer(503 if mood < 0.06 else 429)
        if mood < 0.11:
            return self._cut()
        if mood < 0.13:
            time.sleep(_CHANCE.random() * 3)
        self._keep({"key": self.headers["Idempotency-Key"], "at_s": time.time(), "body": body.decode()})
        return self._cut() if 0.13 <= mood < 0.18 else self._answer(201)

    def _keep(self, request):
        """One write, so that lines of several threads do not mix."""
        with open(DIRECTORY / "bodies", "ab", buffering=0) as file:
            file.write(json.dumps(request).encode() + b"\n")

    def _cut(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, code):
        self.send_response(code)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    os.makedirs(DIRECTORY, exist_ok=True)
    os.umask(0)
    ThreadingHTTPServer.request_queue_size = 64
    ThreadingHTTPServer(("0.0.0.0", PORT), Handler).serve_forever()
