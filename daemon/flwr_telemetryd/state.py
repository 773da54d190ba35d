"""``sidecar.json``: the sidecar that runs, or ran last, and its counters; for ``status``.

Where locks work, no decision depends on this file, because it may be lost or stale. Where they do not, it is
a sidecar's claim to its host; see ``spool/locks.py``. Each sidecar continues the counters of the last one.
"""

from __future__ import annotations

import json

from flwr_telemetry import files, presence
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.named import Any


class State:
    """The state of a host's sidecar. The counters include earlier runs. Times are ISO 8601 in UTC."""

    pid: int = 0
    born: str = ""
    """Distinguishes the process from later ones with the same number; see ``presence.birth``."""
    mode: str = ""
    """``on demand``, ``service`` or ``once``."""
    version: str = ""
    """The version of this distribution."""
    started: str = ""
    ended: str = ""
    """The time and the reason; empty while the sidecar runs."""
    damaged: int = 0
    """Damaged places in segments, and damaged bodies."""
    rejected: int = 0
    """Events that the collector refused."""
    retried: int = 0
    """Requests that failed and were tried again."""
    requests: int = 0
    delivered_events: int = 0
    last_delivery: str = ""
    """Empty without a delivery."""
    next_try: str = ""
    """Empty without a wait."""
    last_error: str = ""
    """Empty after a success."""
    hardware: dict[str, Any]
    """The hardware facts that it adds to the events of its host; `inspect` shows them in a copied home."""
    measured_in: str = ""
    """The boot ID of the machine when these facts were measured; empty if it is not known."""

    def __init__(self, **known: Any) -> None:
        self._saved, self.hardware = "", {}
        for name, value in known.items():
            setattr(self, name, value)

    @classmethod
    def load(cls, host: HostPaths) -> State:
        """The state of the last sidecar; an empty state if the file is missing or damaged."""
        known, state = presence.read_state(host), cls()
        for name, default in state.public().items():
            if type(value := known.get(name)) is type(default):
                setattr(state, name, value)
        return state

    def has_changed(self) -> bool:
        """Whether the state has changed since it was saved."""
        return self._text() != self._saved

    def save(self, host: HostPaths) -> None:
        """Write the state, if it has changed."""
        if self.has_changed():
            text = self._text()
            files.replace_bytes(host.state, text.encode() + b"\n")
            self._saved = text

    def _text(self) -> str:
        return json.dumps(self.public(), indent=1)

    def add(self, other: State) -> None:
        """Add the counters of another host's sidecar."""
        for name in ("damaged", "rejected", "retried", "requests", "delivered_events"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def summary(self) -> str:
        """The state in one line, for a service manager."""
        if self.last_error:
            return "; next try ".join(filter(None, (self.last_error, self.next_try)))
        return f"events delivered: {self.delivered_events}, requests: {self.requests}"

    def public(self) -> dict[str, Any]:
        """The state as the file holds it, by field."""
        return {name: getattr(self, name) for name in State.__annotations__}
