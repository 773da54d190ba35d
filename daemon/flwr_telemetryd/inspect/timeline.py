"""Workloads over time: one lane for each cluster ID, from the events that are still on this machine. Pure.

In: events and bodies, as JSON. Out: lanes, and the bursts that joined them. A workload has ended with a
``…_LEAVE`` event; it has failed if that says ``success`` false or an ``exit_code`` that is an error.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..burst import codec
from ..burst.codec import Mark

MOST_LANES = 500
"""More lanes are folded."""

_FOLDS_S = (60, 600, 3600, 86_400, 30 * 86_400, 365 * 86_400)
_ENTER, _LEAVE = "_ENTER", "_LEAVE"


@dataclass(slots=True)
class Lane:
    """A workload, or several that were folded into one lane."""

    name: str
    """The cluster ID, or a sentence for several."""
    first_us: int
    last_us: int
    entered: int = 0
    left: int = 0
    failed: int = 0
    events: int = 0
    workloads: int = 1
    kinds: dict[str, None] = field(default_factory=dict)
    """The types of its events without ``_ENTER`` and ``_LEAVE``, in order."""
    waiting_us: set[int] = field(default_factory=set)
    """When its events happened that wait for delivery."""
    refused_us: set[int] = field(default_factory=set)
    """When its events happened that the collector refused."""
    together: int = 0
    """How many other workloads were seen while this one was."""

    @property
    def state(self) -> str:
        """``failed``, ``open``, ``ended``, or ``seen`` for one without start and end.

        Of several workloads, it is that of most of them.
        """
        if 2 * self.failed > self.workloads:
            return "failed"
        if 2 * (self.entered - self.left) > self.workloads:
            return "open"
        return "ended" if self.left else "seen"


class Burst(NamedTuple):
    """Events of several workloads in one body."""

    first_us: int
    last_us: int
    clusters: tuple[str, ...]
    events: int


@dataclass(slots=True)
class Timeline:
    """All lanes, the earliest first, and all bursts."""

    lanes: list[Lane] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    folded_s: int = 0
    """The length of time of which all workloads share a lane, in seconds; 0 if each has its own."""
    at_once: int = 0
    """The largest number of workloads that were seen at the same time."""

    @property
    def span_us(self) -> tuple[int, int]:
        """The times of the first and of the last event."""
        return min(lane.first_us for lane in self.lanes), max(lane.last_us for lane in self.lanes)


def _marks(body: Mapping[str, Any]) -> list[Mark]:
    """The events of a body; none if it is damaged. A burst is not expanded: it may hold 100,000 events."""
    try:
        is_sound = body.get("burst") is None or codec.is_expandable(body)
        return [mark for mark in codec.marks(body) if type(mark.cluster) is str] if is_sound else []
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return []


class Builder:
    """Takes bodies one by one, and gives the timeline of them."""

    def __init__(self, since_us: int | None = None) -> None:
        self._since_us = since_us
        self._lanes: dict[str, Lane] = {}
        self._bursts: list[Burst] = []

    def add(self, stage: str, body: Mapping[str, Any]) -> None:
        """Take a body, or an event of the spool; ``stage`` as of ``follow.Item``."""
        found = [mark for mark in _marks(body) if self._since_us is None or mark.at_us >= self._since_us]
        for mark in found:
            self._add(stage, body["event_type"], mark)
        clusters = tuple(dict.fromkeys(mark.cluster for mark in found))
        if len(clusters) > 1:
            self._bursts.append(Burst(found[0].at_us, found[-1].at_us, clusters, len(found)))

    def _add(self, stage: str, event_type: str, mark: Mark) -> None:
        lane = self._lanes.get(mark.cluster)
        if lane is None:
            lane = self._lanes[mark.cluster] = Lane(mark.cluster, mark.at_us, mark.at_us)
        lane.first_us, lane.last_us = min(lane.first_us, mark.at_us), max(lane.last_us, mark.at_us)
        lane.events += 1
        lane.entered += event_type.endswith(_ENTER)
        lane.left += event_type.endswith(_LEAVE)
        lane.failed += mark.failed
        lane.kinds[event_type.removesuffix(_ENTER).removesuffix(_LEAVE)] = None
        if stage == "rejected":
            lane.refused_us.add(mark.at_us)
        elif stage != "sent":
            lane.waiting_us.add(mark.at_us)

    def timeline(self) -> Timeline:
        """The timeline of all that was taken."""
        lanes = sorted(self._lanes.values(), key=lambda lane: (lane.first_us, lane.name))
        at_once = _note_company(lanes)
        if len(lanes) <= MOST_LANES:
            return Timeline(lanes, self._bursts, 0, at_once)
        for fold_s in _FOLDS_S:
            folded = _folded(lanes, fold_s)
            if len(folded) <= MOST_LANES:
                break
        return Timeline(folded, [], fold_s, at_once)


def _note_company(lanes: list[Lane]) -> int:
    """Note for each lane how many others overlap with it; the largest number at one moment.

    Of those that began before a lane ended, all count but those that had ended before it began.
    """
    begins = sorted(lane.first_us for lane in lanes)
    ends = sorted(lane.last_us for lane in lanes)
    for lane in lanes:
        begun = bisect.bisect_right(begins, lane.last_us)
        lane.together = begun - bisect.bisect_left(ends, lane.first_us) - 1
    return max(
        (bisect.bisect_right(begins, begin_us) - bisect.bisect_left(ends, begin_us) for begin_us in begins),
        default=0,
    )


def _folded(lanes: list[Lane], fold_s: int) -> list[Lane]:
    found: dict[int, Lane] = {}
    for lane in lanes:
        slot = lane.first_us // (fold_s * 1_000_000)
        into = found.get(slot)
        if into is None:
            into = found[slot] = Lane("", lane.first_us, lane.last_us, workloads=0)
        into.first_us, into.last_us = min(into.first_us, lane.first_us), max(into.last_us, lane.last_us)
        for name in ("entered", "left", "failed", "events", "workloads"):
            setattr(into, name, getattr(into, name) + getattr(lane, name))
        into.together = max(into.together, lane.together)
        into.kinds |= lane.kinds
        into.waiting_us |= lane.waiting_us
        into.refused_us |= lane.refused_us
    for lane in found.values():
        lane.name = f"{lane.workloads} workloads" if lane.workloads > 1 else "1 workload"
    return list(found.values())
