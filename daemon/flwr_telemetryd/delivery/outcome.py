"""The contract of a sink: ``send(key, body)`` returns an outcome, and never raises because of the network.

Delivered                 the collector has the body, or all of it that it accepts
PartSent                  a part of the body is settled; the next call sends the next part
Retry(reason, after_s)    not now; this says nothing about the body
Refused(reason)           the collector will never accept this body
"""

from __future__ import annotations

from flwr_telemetry.named import NamedTuple, Protocol

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    from ..outbox.pieces import Refusal


class Delivered(NamedTuple):
    """The collector has the body."""

    status: int | None = None
    """The status code of the answer; None if the collector is a file."""
    refusals: tuple[Refusal, ...] = ()
    """The parts of the body that the collector refused; without one, it has the whole body."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Delivered) and self.refusals == other.refusals

    def __hash__(self) -> int:
        return hash(Delivered)


class PartSent(NamedTuple):
    """The collector has decided on a part of the body, and further parts are left."""


class Retry(NamedTuple):
    """The body could not be delivered now."""

    reason: str
    """For people; it holds no address of the collector and no credentials."""
    after_s: float | None = None
    """``Retry-After`` in seconds; None if the collector sent none."""
    needs_repair: bool = False
    """Whether a person has to repair something first, so the wait is ``backoff_max_s`` at once."""


class Refused(NamedTuple):
    """The collector will never accept this body."""

    reason: str
    """The collector's answer, shortened, for people."""


Outcome = Delivered | PartSent | Retry | Refused


class Sink(Protocol):
    """A destination of bodies."""

    def send(self, key: str, body: bytes, /) -> Outcome:
        """Send one body under its idempotency key, or its next part."""

    def close(self) -> None:
        """Close connections and files."""
