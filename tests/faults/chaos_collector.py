"""The collector of the chaos run: it answers in every way there is, is down at times, and keeps a ledger."""

import json
import re
import socket
import struct
import threading
from collections import Counter

from tests.faults import chaos_writer
from tests.faults.ledger import Ledger
from tests.support.collector import ANSWERS, Answer, Collector
from tests.support.wire import expand

_HANG = "hang"
_ANSWERS = {
    **{name: ANSWERS[name] for name in ("200", "204", "429", "503", "500", "302", "422", "retry at once")},
    "retry in a second": Answer(429, {"Retry-After": "1"}),
    **{
        name: ANSWERS[name]
        for name in ("reset", "close", "take and reset", "take and close", "take and fail")
    },
    "drip": Answer(503, manner="drip"),
    "hang": Answer(manner="close"),
    "take and drip": Answer(manner="drip", took=True),
    "take and hang": Answer(manner="close", took=True),
}
_GOOD = ("200", "200", "200", "204")
_BAD = [name for name in _ANSWERS if name not in ("200", "204", "422")]
_MOST_HANG_S = 3.0
_COUNT = re.compile(rb'"burst":\{"count":(\d+)')
_LARGE_BURST, _REFUSE_SMALL, _REFUSE_LARGE = 100, 0.4, 0.1


def serials(body):
    """The serials of the events in a body; the text of an event that no workload emits."""
    found = []
    for event in expand(body):
        n = event["event_details"].get("n")
        ours = type(n) is int and event["event_details"] == chaos_writer.details_of(n)
        ours = ours and event["event_type"] == chaos_writer.type_of(n)
        found.append(n if ours else json.dumps(event)[:300])
    return tuple(found)


class _Serials:
    """Every event that a workload may emit."""

    @staticmethod
    def issuperset(events):
        return all(type(event) is int for event in events)


class MoodyCollector(Collector):
    """A collector whose answers are drawn, until it is told to be kind.

    `shoot` is called, in a thread of its own, about when the answer to some request arrives.
    """

    def __init__(self, chance, shoot):
        self._guard = _bound(0)  # keeps the port ours while nobody listens
        super().__init__(_listening(self._guard))
        self.ledger = Ledger(serials, _Serials())
        self.answers = Counter()
        self._chance, self._shoot = chance, shoot
        self._failing, self._unread, self._shots = 0.1, 0.02, 0.02
        self._released = threading.Event()
        self._down = False
        self._server.verify_request = self._lets_in

    def __exit__(self, *exception):
        self._released.set()
        super().__exit__(*exception)
        self._guard.close()

    # Moods

    def change_mood(self):
        with self._lock:
            self._failing = self._chance.choice((0.05, 0.2, 0.5, 0.9))
            self._unread = self._failing / 3
            self._shots = self._chance.choice((0.01, 0.03, 0.06))

    def be_kind(self):
        with self._lock:
            self._failing = self._unread = self._shots = 0.0
        self._released.set()

    def go_down(self):
        if not self._down:
            self._down = True
            self.answers["down"] += 1
            self._server.shutdown()
            self._thread.join()
            self._server.socket.close()
            self._server.end_connections()

    def come_up(self):
        if self._down:
            self._down = False
            self._server.socket = _listening(self._guard)
            self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
            self._thread.start()

    # Requests

    def _lets_in(self, connection, _address):
        with self._lock:
            if self._chance.random() >= self._unread:
                return True
            self.answers["reset unread"] += 1
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def take(self, request):
        """Decide on a request. Only the ledger remembers it, so that a long run fits into little memory."""
        with self._lock:
            kind = self._draw(request)
            self.answers[kind] += 1
            self.ledger.hear(request)
            answer = self.ledger.decide(request, _ANSWERS[kind])
            shot_s = self._chance.uniform(0, 0.01) if self._chance.random() < self._shots else None
            hang_s = self._chance.uniform(0, _MOST_HANG_S)
        if shot_s is not None:
            threading.Timer(shot_s, self._shoot).start()
        if kind.endswith(_HANG):
            self._released.wait(hang_s)
        return answer

    def _draw(self, request):
        kind = self._chance.choice(_BAD if self._chance.random() < self._failing else _GOOD)
        burst = _COUNT.search(request.body)
        if burst is None or not self._shots or not _ANSWERS[kind].accepts:
            return kind
        refuse = _REFUSE_SMALL if int(burst[1]) <= _LARGE_BURST else _REFUSE_LARGE
        return "422" if self._chance.random() < refuse else kind


def _bound(port):
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _listening(guard):
    listener = _bound(guard.getsockname()[1])
    listener.listen(256)
    return listener
