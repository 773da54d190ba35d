"""What came of a relay, for those who tell it. This room must never read or write a file."""

from __future__ import annotations

from dataclasses import dataclass

from . import drain


@dataclass(slots=True)
class Relayed:
    """What came of it.

    Attributes:
        outcome: how it ended; ``DELIVERED`` if every body in the file is delivered or rejected.
        reason: why telemetry is off, or why something is left; empty otherwise.
        bodies: how many bodies were delivered or rejected now.
        events: how many events they stand for.
        rejected: events among them that the collector refused.
        forgotten: bodies that were not sent, because their source ID was forgotten in this home.
        damaged: lines that are no bodies, and were passed by now.
        rest_bytes: what is left in the file; with ``DELIVERED``, a last line without an end.
        from_start: whether it is another file than the one that was relayed under this name before.
    """

    outcome: drain.Outcome = drain.Outcome.DELIVERED
    reason: str = ""
    bodies: int = 0
    events: int = 0
    rejected: int = 0
    forgotten: int = 0
    damaged: int = 0
    rest_bytes: int = 0
    from_start: bool = False
