"""Source IDs that the user had forgotten: ``forgotten`` in ``telemetry/`` holds one hash a line.

Batches leave out every event of such an ID (``batch.write``). A body of such an ID is deleted instead of sent
(``queue.load``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from flwr_telemetry import files
from flwr_telemetry.layout import Home
from flwr_telemetry.named import Any

from .archive import append_line
from .body import decoded

_MAX_BYTES = 16 * 1024 * 1024
_TRIES = 5
"""A note is read back, because on a shared home another machine may write over it at the same moment."""


def hash_of(source_id: str) -> str:
    """The hash that is noted for an ID: the lower-case hex SHA-256 of its text."""
    return hashlib.sha256(source_id.encode()).hexdigest()


def hashes(home: Home) -> set[str]:
    """The hashes that are noted in a home.

    Raises:
        OSError, SpoolUnsafeError: the file is there but cannot be read.
    """
    try:
        return set(files.read_bytes(home.forgotten, _MAX_BYTES).decode(errors="replace").split())
    except FileNotFoundError:
        return set()


def notes(home: Home, source_id: str) -> bool:
    """Whether an ID is noted in a home; raises as ``hashes``."""
    return hash_of(source_id) in hashes(home)


def add(home: Home, source_id: str) -> None:
    """Note an ID for good; raises as ``hashes``."""
    for _ in range(_TRIES):
        if notes(home, source_id):
            return
        files.ensure_directory(home.telemetry)
        append_line(home.forgotten, hash_of(source_id).encode())


def is_noted(source_id: object, noted: Collection[str]) -> bool:
    """Whether ``noted``, as given by ``hashes``, has this source ID. Only a string is an ID."""
    return isinstance(source_id, str) and hash_of(source_id) in noted


def source_of(event: dict[str, Any]) -> str | None:
    """The source ID in an event or a decoded body; None if it has none."""
    context = event.get("context")
    source_id = context.get("source") if isinstance(context, dict) else None
    return source_id if isinstance(source_id, str) else None


def has_noted(body: bytes, noted: Collection[str]) -> bool:
    """Whether the source ID in a body is among the hashes ``noted``."""
    return bool(noted) and is_noted(source_of(decoded(body)), noted)


def holds(home: Home, body: bytes) -> bool:
    """Whether the source ID in ``body`` is noted; raises as ``hashes``, and then nothing may be sent."""
    return has_noted(body, hashes(home))
