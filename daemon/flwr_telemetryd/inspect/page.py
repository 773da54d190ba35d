"""One self-contained page that shows a home to a person: no script, nothing loaded, nothing sent.

    read_page    reads a home once: its status, its bodies, and the timeline of its workloads
    render       makes the HTML of that

The newest bodies are shown byte for byte, up to ``MOST_BODY_BYTES``. The page tells when there are more. This
module never writes a file.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from string import Template
from typing import Any

from flwr_telemetry import settings, source
from flwr_telemetry.context import Field
from flwr_telemetry.layout import Home
from flwr_telemetry.version import __version__

from ..clock import Clock
from .deletion_request import DeletionRequest, deletion_request
from .fields import examples
from .filters import EventFilter
from .follow import Follower, Item
from .markup import element, join, prose, text
from .sections import sections
from .status import Status, read_status
from .timeline import Builder, Timeline
from .words import date_of

MOST_BODY_BYTES = 2 * 1024 * 1024

_PAGE = Template(
    "<!DOCTYPE html>\n"
    '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'sha256-$digest'\">\n"
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<meta name="referrer" content="no-referrer">\n'
    "<title>$title</title>\n<style>$style</style>\n</head>\n<body>\n$body\n</body>\n</html>\n"
)


@dataclass(slots=True)
class Page:
    """All that the page shows."""

    made: datetime
    status: Status
    fields: list[tuple[Field, Any]]
    timeline: Timeline
    bodies: list[Item] = field(default_factory=list)
    """The newest ones, the newest first."""
    left_out: int = 0
    """Older bodies and events that are not shown."""
    problems: list[str] = field(default_factory=list)
    """One sentence for each file that could not be read."""
    since: str = ""
    """The time from which on the page shows events, as the person typed it; empty for all."""
    deletion: DeletionRequest | None = None
    """None without a source ID."""


def read_page(
    home: Home,
    environ: Mapping[str, str],
    clock: Clock,
    *,
    since: tuple[str, int] | None = None,
) -> Page:
    """Read a home.

    Args:
        home: the home; it need not exist.
        environ: this process's variables.
        clock: the source of time.
        since: the earliest time to show: as it was typed, and in microseconds since the epoch.

    Never raises because of the state of the home.
    """
    chosen = EventFilter(since_us=since[1] if since else None)
    builder, follower = Builder(chosen.since_us), Follower(home)
    newest: list[tuple[str, int, Item]] = []
    size_bytes = left_out = 0
    for number, item in enumerate(follower.new_items()):
        if not chosen.takes_raw(item.raw):
            continue
        body = json.loads(item.raw)
        builder.add(item.stage, body)
        heapq.heappush(newest, (date_of(body), number, item))
        size_bytes += len(item.raw)
        while size_bytes > MOST_BODY_BYTES and len(newest) > 1:
            size_bytes -= len(heapq.heappop(newest)[2].raw)
            left_out += 1
    status = read_status(home, environ)
    request = None
    if status.source is not None and source.is_uuid(status.source):
        request = deletion_request(status.source, settings.load(home, environ))
    return Page(
        made=clock.now(),
        status=status,
        fields=examples(home, environ, clock),
        timeline=builder.timeline(),
        bodies=[item for *_, item in sorted(newest, reverse=True)],
        left_out=left_out,
        problems=[*follower.problems],
        since=since[0] if since else "",
        deletion=request,
    )


def render(page: Page) -> bytes:
    """The page as HTML in UTF-8."""
    made = f"{page.made.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    since = f" Only events since {page.since} are shown." if page.since else ""
    header = element(
        "header",
        join(
            [
                element("h1", "Flower's telemetry on this machine"),
                element("p", f"A picture of {page.status.home}, made at {made}.{since}", class_="soft"),
            ]
        ),
    )
    foot = (
        f"Made by flwr-telemetry {__version__}. This file loads nothing and sends nothing. "
        "`flwr-telemetry view` makes a new one."
    )
    footer = element("footer", element("p", prose(foot)))
    main = element("main", join(sections(page)))
    style = resources.files(__package__ or "").joinpath("page.css").read_text(encoding="utf-8")
    whole = _PAGE.substitute(
        digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        style=style,
        title=text("Flower's telemetry on this machine"),
        body=join([header, main, footer]),
    )
    return whole.encode()
