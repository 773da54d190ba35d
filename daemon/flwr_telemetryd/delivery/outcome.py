"""The contract of a sink: ``send(key, body)`` returns an outcome, and never raises because of the network.

Delivered                 the collector has the body
Retry(reason, after_s)    not now; this says nothing about the body
Refused(reason)           the collector will never accept this body
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Delivered(NamedTuple):
    """The collector has the body."""

    status: int | None = None
    """The status code of the answer; None if the collector is a file."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Delivered)

    def __hash__(self) -> int:
        return hash(Delivered)


class Retry(NamedTuple):
    """The body could not be delivered now."""

    reason: str
    """For people; it holds no address of the collector and no credentials."""
    after_s: float | None = None
    """``Retry-After`` in seconds; None if the collector sent none."""


class Refused(NamedTuple):
    """The collector will never accept this body."""

    reason: str
    """The collector's answer, shortened, for people."""


Outcome = Delivered | Retry | Refused


class Sink(Protocol):
    """A destination of bodies."""

    def send(self, key: str, body: bytes, /) -> Outcome:
        """Send one body under its idempotency key."""

    def close(self) -> None:
        """Close connections and files."""
