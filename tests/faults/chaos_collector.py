"""The collector of the chaos run: it answers in every way there is, is down at times, and keeps count.

What it says of a body is consistent, as it is with a real collector, in whatever order requests arrive:
a key that was taken is never refused later, and one that was refused is never taken. Only what the judge
needs is kept of a request, so that a long run fits into little memory.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faults import chaos_writer
from tests.support.collector import Answer, Collector, Request
from tests.support.wire import Event, expand

if TYPE_CHECKING:
    from collections.abc import Callable

_HANG = "hang"
# Who has said 200 has taken the body, even if the rest of that answer never arrives.
ANSWERS: dict[str, Answer] = {
    "200": Answer(),
    "204": Answer(204),
    "429": Answer(429),
    "429, Retry-After: 0": Answer(429, {"Retry-After": "0"}),
    "429, Retry-After: 1": Answer(429, {"Retry-After": "1"}),
    "503": Answer(503),
    "503, Retry-After: 0": Answer(503, {"Retry-After": "0"}),
    "503, Retry-After: 1": Answer(503, {"Retry-After": "1"}),
    "reset": Answer(manner="reset"),
    "closed": Answer(manner="close"),
    "drip": Answer(503, manner="drip"),
    "hang": Answer(manner="close"),
    "taken, then reset": Answer(manner="reset", took=True),
    "taken, then closed": Answer(manner="close", took=True),
    "taken, then drip": Answer(manner="drip", took=True),
    "taken, then hang": Answer(manner="close", took=True),
}
REFUSED, UNREAD, CUT, DOWN = "422", "reset unread", "cut by the sender", "down"
_GOOD = ("200", "200", "200", "204")
_BAD = tuple(ANSWERS)[2:]
_MOST_HANG_S = 3.0
_COUNT = re.compile(rb'"burst":\{"count":(\d+)')
_LARGE_BURST, _REFUSE_SMALL, _REFUSE_LARGE = 100, 0.4, 0.1


@dataclass
class Tally:
    """What was heard, in few bytes."""

    requests: int = 0
    requests_in_chaos: int = 0  # before the collector became kind
    repeated: int = 0  # under a key that was heard before
    duplicates: int = 0  # under a key that was taken before
    answers: Counter[str] = field(default_factory=Counter)
    heard: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    taken: dict[str, bytes] = field(default_factory=dict)  # by key: the digest of the body
    found: dict[int, str] = field(default_factory=dict)  # by serial: the key that brought it
    doubled: list[tuple[int, str, str]] = field(default_factory=list)  # serials that two keys brought
    strange: list[str] = field(default_factory=list)  # what no writer has emitted

    def file(self, event: Event, key: str) -> None:
        """Note an event of a body that was taken for the first time."""
        n = event["event_details"].get("n")
        if type(n) is not int or (event["event_type"], event["event_details"]) != (
            chaos_writer.type_of(n),
            chaos_writer.details_of(n),
        ):
            self.strange.append(f"{key}: {json.dumps(event)[:300]}")
        elif n in self.found:
            self.doubled.append((n, self.found[n], key))
        else:
            self.found[n] = key


class MoodyCollector(Collector):
    """A collector whose answers are drawn, until it is told to be kind.

    `shoot` is called, in a thread of its own, about when the answer to some request arrives.
    """

    def __init__(self, chance: random.Random, shoot: Callable[[], object]) -> None:
        super().__init__()
        self.tally = Tally()
        self._chance, self._shoot = chance, shoot
        self._failing, self._unread, self._shots = 0.1, 0.02, 0.02
        self._released = threading.Event()
        self._down = False
        # A second socket keeps the port ours while nobody listens.
        self._guard = _bound(0)
        self._server.server_address = self._guard.getsockname()
        self._listen()
        self._server.verify_request = self._lets_in  # type: ignore[method-assign]

    def __exit__(self, *exception: object) -> None:
        self._released.set()
        super().__exit__(*exception)
        self._guard.close()

    # Moods

    def change_mood(self) -> None:
        """Draw anew how much fails from now on, and how often a sidecar is shot at a request."""
        with self._lock:
            self._failing = self._chance.choice((0.05, 0.2, 0.5, 0.9))
            self._unread = self._failing / 3
            self._shots = self._chance.choice((0.01, 0.03, 0.06))

    def be_kind(self) -> None:
        """Take everything from now on, and harm nobody."""
        with self._lock:
            self._failing = self._unread = self._shots = 0.0
            self.tally.requests_in_chaos = self.tally.requests
        self._released.set()

    # Down as a whole

    def go_down(self) -> None:
        """Listen no more, and end every connection."""
        if self._down:
            return
        self._down = True
        self.tally.answers[DOWN] += 1
        self._server.shutdown()
        self._thread.join()
        self._server.socket.close()
        self._server.end_connections()

    def come_up(self) -> None:
        """Listen again at the same address."""
        if not self._down:
            return
        self._down = False
        self._listen()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _listen(self) -> None:
        self._server.socket.close()
        self._server.socket = _bound(self.port)
        self._server.socket.listen(self._server.request_queue_size)

    # Requests

    def _lets_in(self, connection: Any, _address: Any) -> bool:
        with self._lock:
            if self._chance.random() >= self._unread:
                return True
            self.tally.answers[UNREAD] += 1
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def take(self, request: Request) -> Answer:
        """Decide on a request, and note what the judge needs of it."""
        if len(request.body) != int(request.headers.get("content-length", "-1")):
            with self._lock:  # its sender died: no server could take that for a body
                self.tally.answers[CUT] += 1
            return Answer(manner="close")
        digest = hashlib.sha256(request.body).digest()
        with self._lock:
            kind = self._draw(request)
            answer = Answer(422) if kind == REFUSED else ANSWERS[kind]
            self.tally.answers[kind] += 1
            fresh = self._note(request.key, digest, taken=answer.accepts)
            shot_s = self._chance.uniform(0, 0.01) if self._chance.random() < self._shots else None
            hang_s = self._chance.uniform(0, _MOST_HANG_S)
        if fresh:
            events = expand(request.body)
            with self._lock:
                for event in events:
                    self.tally.file(event, request.key)
        if shot_s is not None:
            threading.Timer(shot_s, self._shoot).start()
        if kind.endswith(_HANG):
            self._released.wait(hang_s)
        return answer

    def _draw(self, request: Request) -> str:
        kind = self._chance.choice(_BAD if self._chance.random() < self._failing else _GOOD)
        answer, burst = ANSWERS[kind], _COUNT.search(request.body)
        if not answer.accepts or request.key in self.tally.taken:
            return kind
        if request.key in self.tally.refused:
            return REFUSED
        refuse = 0.0
        if burst is not None and self._shots:
            refuse = _REFUSE_SMALL if int(burst[1]) <= _LARGE_BURST else _REFUSE_LARGE
        if self._chance.random() < refuse:
            self.tally.refused.add(request.key)
            return REFUSED
        return kind

    def _note(self, key: str, digest: bytes, *, taken: bool) -> bool:
        """Count a request; whether its body is taken for the first time."""
        tally = self.tally
        tally.requests += 1
        tally.repeated += key in tally.heard
        tally.duplicates += key in tally.taken
        tally.heard.add(key)
        if not taken:
            return False
        fresh = key not in tally.taken
        if tally.taken.setdefault(key, digest) != digest:
            tally.strange.append(f"two bodies under the key {key}")
        return fresh


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
