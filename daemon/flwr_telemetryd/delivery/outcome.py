"""The seam: ``send(key, body) -> outcome``. It never raises for the network's sake.

Delivered                 the body is there
Retry(reason, after_s)    not now; nothing is said about the body
Refused(reason)           a word about the body itself: it will never be taken
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivered:
    """The collector has the body."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The body could not be delivered now.

    Attributes:
        reason: a word for a person; no address, no credentials.
        after_s: how long the collector asked to be left alone; None if it did not.
    """

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The collector will never take this body.

    Attributes:
        reason: its word.
    """

    reason: str


Outcome = Delivered | Retry | Refused


class Sink(Protocol):
    """Somewhere that takes bodies."""

    def send(self, key: str, body: bytes) -> Outcome:
        """Send one body under its idempotency key."""

    def close(self) -> None:
        """Let go of connections and files."""
