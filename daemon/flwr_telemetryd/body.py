"""A request body as a file: its key, its bytes, and whether it is still what was written.

A file's name is its idempotency key. For a body as it was committed that is the SHA-256 of its bytes, so
a burst whose bytes were bent on the disk is told by its name. A plain body may be an event of a split
burst, whose key says nothing of its bytes: there, only what is no event at all is told.

This room must never write, send or delete anything.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from flwr_telemetry.layout import BODY_SUFFIX, HostPaths

from . import burst, segments

_KEY = re.compile(r"[0-9a-f]{64}")
_KINDS = {"event_type": str, "event_details": dict, "context": dict}


class Body(NamedTuple):
    """A body that waits for delivery.

    Attributes:
        host: whose outbox.
        path: its file.
    """

    host: HostPaths
    path: Path

    @property
    def key(self) -> str:
        """Its idempotency key: the SHA-256 of the body, or of ``<burst key>/<index>`` for a split one."""
        return self.path.name.removesuffix(BODY_SUFFIX)

    def read(self) -> bytes:
        """Its bytes; FileNotFoundError if somebody delivered it. See ``read``."""
        return read(self.path)


def key_of(data: bytes) -> str:
    """The idempotency key of a body: the lower-case hex SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()


def read(path: Path) -> bytes:
    """The bytes of a body's file; of one that is larger than any body, a beginning that is still too long."""
    data = bytearray()
    for chunk in segments.chunks(path):
        data += chunk
        if len(data) > burst.MAX_BODY_BYTES:
            break
    return bytes(data)


def decoded(data: bytes) -> dict[str, Any]:
    """A body as JSON; empty if it is none, which only damage on the disk can bring about."""
    if len(data) > burst.MAX_BODY_BYTES:
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def intact(key: str, data: bytes) -> dict[str, Any]:
    """A body as JSON, if it is what was written under ``key``, as far as that can be told; else empty."""
    whole = decoded(data)
    if not (_KEY.fullmatch(key) and data.isascii() and whole.keys() - {"burst"} == _KINDS.keys()):
        return {}
    if not all(isinstance(whole[name], kind) for name, kind in _KINDS.items()):
        return {}
    if "burst" in whole and (key != key_of(data) or not burst.count(whole)):
        return {}
    return whole
