"""The timeline as a picture (SVG), and as a table for people who read it without the picture. Pure.

Places are in percent of the width, so that the picture fits every screen while text and marks keep their
size. It has no script and no style attribute, because the page's policy forbids both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from . import markup
from .markup import Html, element, join
from .timeline import Burst, Lane, Timeline

Place = Callable[[int], float]
"""The place of a time, in percent of the width."""

STATES = {"ended": "ended", "failed": "failed", "open": "still open", "seen": "no start or end seen"}

_MOST_LABELS = 60
"""With more lanes, none has a label of its own, so that all fit on a few screens."""

_MOST_BURSTS = 400
_MOST_SQUARES = 24
_LEFT, _WIDTH = 1.0, 98.0
_TOP = 8
_TICKS = 4


def picture(timeline: Timeline) -> Html:
    """The lanes over time."""
    first_us, last_us = timeline.span_us
    labelled = len(timeline.lanes) <= _MOST_LABELS
    step = 34 if labelled else 12
    height = _TOP + step * len(timeline.lanes) + 6

    def place(at_us: int) -> float:
        share = (at_us - first_us) / (last_us - first_us) if last_us > first_us else 0.5
        return _LEFT + _WIDTH * share

    rows = {lane.name: number for number, lane in enumerate(timeline.lanes)}
    parts = [
        element("title", "Workloads over time; the table below says the same", id="lanes-title"),
        *_grid(height),
        *(part for burst in timeline.bursts[-_MOST_BURSTS:] for part in _burst(burst, rows, step, place)),
        *(
            _lane(lane, _TOP + step * number + (24 if labelled else 6), place, is_labelled=labelled)
            for number, lane in enumerate(timeline.lanes)
        ),
    ]
    drawn = element(
        "svg",
        join(parts),
        width="100%",
        height=str(height),
        role="img",
        aria_labelledby="lanes-title",
        class_="lanes",
    )
    return join([drawn, _scale(first_us, last_us)])


def _grid(height: int) -> Iterator[Html]:
    for number in range(_TICKS + 1):
        at = f"{_LEFT + _WIDTH * number / _TICKS:.2f}%"
        yield element("line", "", x1=at, x2=at, y1="0", y2=str(height), class_="grid")


def _burst(burst: Burst, rows: dict[str, int], step: int, place: Place) -> Iterator[Html]:
    """A shade over the lanes of a burst, and over no other lane."""
    begin, end = place(burst.first_us), place(burst.last_us)
    told = f"one request: {burst.events} events of {len(burst.clusters)} workloads"
    numbers = {rows[cluster] for cluster in burst.clusters}
    starts = sorted(number for number in numbers if number - 1 not in numbers)
    ends = sorted(number for number in numbers if number + 1 not in numbers)
    for first, last in zip(starts, ends, strict=True):
        yield element(
            "rect",
            element("title", told),
            x=f"{begin:.3f}%",
            width=f"{end - begin:.3f}%",
            y=str(_TOP + step * first - 2),
            height=str(step * (last - first + 1)),
            class_="burst",
        )


def _lane(lane: Lane, y: int, place: Place, *, is_labelled: bool) -> Html:
    begin, end = place(lane.first_us), place(lane.last_us)
    line = {"y1": str(y), "y2": str(y)}
    parts = [element("title", sentence(lane))]
    if is_labelled:
        parts.append(element("text", label(lane), x="0", y=str(y - 9)))
    if lane.state == "open":
        parts.append(element("line", "", x1=f"{end:.3f}%", x2="99%", class_="rest", **line))
    parts.append(
        element("line", "", x1=f"{begin:.3f}%", x2=f"{end:.3f}%", class_=f"lane {lane.state}", **line)
    )
    parts += _squares("waits", lane.waiting_us, y, place)
    parts += _squares("refused", lane.refused_us, y, place)
    return element("g", join(parts))


def _squares(kind: str, times_us: Iterable[int], y: int, place: Place) -> Iterator[Html]:
    size = {"y": str(y - 5), "width": "10", "height": "10", "transform": "translate(-5 0)"}
    for at in sorted({round(place(at_us), 1) for at_us in times_us})[:_MOST_SQUARES]:
        yield element("rect", "", x=f"{at}%", class_=kind, **size)


def _scale(first_us: int, last_us: int) -> Html:
    """The times at both ends and in the middle, as text beside the picture, so that it never shrinks."""
    times = (first_us, (first_us + last_us) // 2, last_us) if last_us > first_us else (first_us,)
    return element("p", join(element("span", clock(at_us)) for at_us in times), class_="scale")


def label(lane: Lane) -> str:
    """A lane in a few words."""
    kinds = [*lane.kinds]
    kind = f"{kinds[0]} and {len(kinds) - 1} more" if len(kinds) > 1 else kinds[0]
    name = lane.name[:8] if lane.workloads == 1 else lane.name
    return f"{name} · {kind[:60]} · {_state(lane)}"


def sentence(lane: Lane) -> str:
    """All about a lane, for its tooltip."""
    events = f"{lane.events} event{'s' * (lane.events != 1)}"
    times = f"{clock(lane.first_us)} to {clock(lane.last_us)}"
    return f"{lane.name}: {', '.join(lane.kinds)}; {_state(lane)}; {times}; {events}"


def table(lanes: Iterable[Lane]) -> Html:
    """The same as the picture, in rows."""
    names = ("Workload", "Kind", "First event", "Last event", "State", "Events", "At the same time")
    rows = (
        [
            element("th", element("code", lane.name), scope="row"),
            element("td", ", ".join(lane.kinds)),
            *(element("td", clock(at_us)) for at_us in (lane.first_us, lane.last_us)),
            *(element("td", cell) for cell in (_state(lane), str(lane.events))),
            element("td", f"{lane.together} other{'s' * (lane.together != 1)}"),
        ]
        for lane in lanes
    )
    caption = "Each workload, with the number of others that were seen at the same time"
    return markup.table((element("th", name, scope="col") for name in names), rows, caption)


def _state(lane: Lane) -> str:
    """The state in words, with the events that wait or were refused."""
    state = STATES[lane.state]
    if lane.workloads > 1:
        still_open = max(lane.entered - lane.left, 0)
        counts = {"ended": lane.workloads - still_open, "failed": lane.failed, "still open": still_open}
        state = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    waits = f", {len(lane.waiting_us)} wait" if lane.waiting_us else ""
    refused = f", {len(lane.refused_us)} refused" if lane.refused_us else ""
    return f"{state}{waits}{refused}"


def clock(at_us: int) -> str:
    """A time as people read it, in the zone of this machine; in UTC where the zone's rules do not reach."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_us)
    with contextlib.suppress(OverflowError, ValueError, OSError):
        moment = moment.astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}"
