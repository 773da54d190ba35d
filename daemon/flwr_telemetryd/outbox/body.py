"""A request body as a file: its key, its bytes, and whether the bytes are still those that were written.

A file's name is its idempotency key. The key of a committed body is the SHA-256 of its bytes, so the name
shows whether a burst was damaged on the disk. A plain body may be an event of a split burst, whose key does
not depend on its bytes. Its damage shows only if the bytes are no event.

This module never writes, sends or deletes.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from flwr_telemetry import record
from flwr_telemetry.layout import BODY_SUFFIX, HostPaths
from flwr_telemetry.named import Any, NamedTuple

from ..burst import codec
from ..spool import segments

_KEY = r"[0-9a-f]{64}"
_MAX_DEPTH = record.MAX_DEPTH + 2
"""The details lie in one container, and count themselves."""

_KINDS = {"event_type": str, "event_details": dict, "context": dict}


class Body(NamedTuple):
    """A body that waits for delivery in the outbox of a host."""

    host: HostPaths
    path: Path

    @property
    def key(self) -> str:
        """The idempotency key: the SHA-256 of the body, or of ``<burst key>/<index>`` for a split one."""
        return self.path.name.removesuffix(BODY_SUFFIX)

    def read(self) -> bytes:
        """The bytes, as by ``read``; FileNotFoundError if another sidecar delivered the body."""
        return read(self.path)


def key_of(data: bytes) -> str:
    """The idempotency key of a body: the lower-case hex SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()


def read(path: Path) -> bytes:
    """The bytes of a body's file. Of a file that is larger than any body, a beginning that is too large, too.

    Raises:
        OSError, SpoolUnsafeError: the system's refusal, or something else in the file's place.
    """
    data = bytearray()
    for chunk in segments.chunks(path):
        data += chunk
        if len(data) > codec.MAX_BODY_BYTES:
            break
    return bytes(data)


def decoded(data: bytes) -> dict[str, Any]:
    """A body as JSON; empty if it is no JSON object or too large, which only damage on the disk can cause."""
    if len(data) > codec.MAX_BODY_BYTES:
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def intact(key: str, data: bytes) -> dict[str, Any]:
    """A body as JSON; empty if the bytes are certainly not those that were written under ``key``."""
    whole = decoded(data)
    if not (re.fullmatch(_KEY, key) and data.isascii() and whole.keys() - {"burst"} == _KINDS.keys()):
        return {}
    if not all(isinstance(whole[name], kind) for name, kind in _KINDS.items()):
        return {}
    if "burst" in whole and (key != key_of(data) or not codec.count(whole)):
        return {}
    return whole if "burst" in whole or _is_event(whole) else {}


def _is_event(whole: dict[str, Any]) -> bool:
    """Whether a decoded body nests no deeper than an event; json refuses that in Python before 3.14 alone."""
    try:
        record.check_json(whole, _MAX_DEPTH)
    except ValueError:
        return False
    return True
