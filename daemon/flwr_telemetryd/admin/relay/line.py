"""Reads a line of a file that anybody may have written: a body, or nothing. Pure.

A sidecar trusts a file of its outbox, because the name of the file is the hash of its bytes. A line has no
such name, so everything in it is checked. Its count must be the number of its rows, and every row can be
expanded. Every reader must find the same event in it. A name that stands twice, for example, means one thing
to one reader of JSON and another thing to the next.

This module never opens a file. Its memory is bounded by the length of a line.
"""

from __future__ import annotations

import json
from typing import Any

from flwr_telemetry import record
from flwr_telemetry.details import event_type_name
from flwr_telemetry.errors import TelemetryError

from ...burst import codec
from ...outbox.body import intact, key_of

_MAX_DEPTH = record.MAX_DEPTH + 4
"""A value in the details of a row lies in four further containers."""


def body_of(line: bytes) -> dict[str, Any]:
    """The body in a line as JSON; empty if it is none that a sidecar may have written."""
    # No sidecar writes space around a body; a line end of another program makes it another body.
    if len(line) > codec.MAX_BODY_BYTES or line.strip() != line:
        return {}
    try:
        whole = _parse(line)
        event_type_name(whole["event_type"])
    except (ValueError, LookupError, TypeError, RecursionError, TelemetryError):
        return {}
    if "burst" in whole and not codec.is_expandable(whole):
        return {}
    return intact(key_of(line), line)


def _parse(line: bytes) -> Any:
    whole = json.loads(line, object_pairs_hook=_unique, parse_constant=_refuse)
    record.check_json(whole, _MAX_DEPTH)
    json.dumps(whole, ensure_ascii=False).encode()  # a lone surrogate is no text
    return whole


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
