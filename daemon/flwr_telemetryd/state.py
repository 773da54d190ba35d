"""``sidecar.json``: who runs and what it did last, for ``status``.

Nothing depends on this file: it may be lost or stale, and no decision is made from it. The counters in
it go on from one sidecar to the next.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from flwr_telemetry import files, presence
from flwr_telemetry.layout import HostPaths


@dataclass(slots=True)
class State:
    """What is known of a host's sidecar.

    Attributes:
        pid: the process that runs, or ran last.
        born: what tells it from others of that number; see ``presence.birth``.
        mode: ``on demand``, ``service`` or ``once``.
        version: of this distribution.
        started: when, ISO 8601 in UTC.
        ended: when and why; empty while it runs.
        damaged: runs of bytes that were no record, ever.
        rejected: events that the collector refused, ever.
        retried: requests that failed and were or will be repeated, ever.
        requests: requests made, ever.
        delivered_events: events that were accepted, ever.
        last_delivery: when, ISO 8601 in UTC; empty if never.
        next_try: when, ISO 8601 in UTC; empty if nothing waits for it.
        last_error: a word; empty after a success.
    """

    pid: int = 0
    born: str = ""
    mode: str = ""
    version: str = ""
    started: str = ""
    ended: str = ""
    damaged: int = 0
    rejected: int = 0
    retried: int = 0
    requests: int = 0
    delivered_events: int = 0
    last_delivery: str = ""
    next_try: str = ""
    last_error: str = ""
    _saved: str = field(default="", repr=False)

    @classmethod
    def load(cls, host: HostPaths) -> State:
        """The state as it was left; an empty one where there is none or it cannot be read."""
        known, state = presence.read_state(host), cls()
        for name, default in state.public().items():
            if type(value := known.get(name)) is type(default):
                setattr(state, name, value)
        return state

    def save(self, host: HostPaths) -> None:
        """Write the state, if it differs from what was written last."""
        text = json.dumps(self.public(), indent=1)
        if text != self._saved:
            files.replace_bytes(host.state, text.encode() + b"\n")
            self._saved = text

    def add(self, other: State) -> None:
        """Count what another host's sidecars had counted."""
        for name in ("damaged", "rejected", "retried", "requests", "delivered_events"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def in_words(self) -> str:
        """How it goes, in one line for a service manager."""
        if self.last_error:
            return "; next try ".join(word for word in (self.last_error, self.next_try) if word)
        return f"{self.delivered_events} events delivered in {self.requests} requests"

    def public(self) -> dict[str, Any]:
        """All that a reader may see."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}
