"""Source IDs that the user had forgotten: what carries one of them is deleted, never sent."""

from __future__ import annotations

import hashlib

from flwr_telemetry import files
from flwr_telemetry.layout import Home

from .body import decoded

_MAX_BYTES = 16 * 1024 * 1024


def hash_of(source_id: str) -> str:
    """What is noted of a forgotten ID: the lower-case hex SHA-256 of its text."""
    return hashlib.sha256(source_id.encode()).hexdigest()


def holds(home: Home, body: bytes) -> bool:
    """Whether ``body`` carries a source ID that is in the ``forgotten`` file of ``home``.

    Raises:
        OSError: the file is there but cannot be read; then nothing may be sent.
    """
    try:
        hashes = set(files.read_bytes(home.forgotten, _MAX_BYTES).decode(errors="replace").split())
    except FileNotFoundError:
        return False
    context = decoded(body).get("context")
    source_id = context.get("source") if isinstance(context, dict) else None
    return isinstance(source_id, str) and hash_of(source_id) in hashes
