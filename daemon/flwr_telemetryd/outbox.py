"""The outbox: durable bodies, one file each, and where they go from there.

    outbox/<batch>/<key>.json ──delivered──▶ sent/<date>.jsonl
                    │          ──rejected──▶ rejected/<key>.json, <key>.reason.txt
                    └──split──▶ <key>.split ──▶ one <key>.json for each event of a refused burst

A body is archived before it is unlinked, and its reason stands before it is rejected: death in between
repeats the step and loses nothing. A split file is never sent again; while it is there its members are
not delivered either, so that writing them twice doubles nothing, and it goes when all of them are on
the disk. A file that vanishes under our hands was another sidecar's success.

Races, continued from ``batch.py``:

15. Death between the collector's answer and the archive, or between archive and unlink: the body is sent
    again under the same key, which the collector knows.
16. Death within a split: it is done again from the split file, with the same keys and the same bytes.

This room must never send, and never decide what an answer means.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flwr_telemetry import files
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, HostPaths

from . import batch, burst, damage, segments


@dataclass(frozen=True, slots=True)
class Body:
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
        """Its bytes; FileNotFoundError if somebody delivered it."""
        return b"".join(segments.chunks(self.path))


def put_right(host: HostPaths, directory: Path, now_ns: int) -> int:
    """Finish what a death left half done in a committed batch: segments to discard, bursts to split.

    Args:
        host: whose.
        directory: the batch.
        now_ns: nanoseconds since the epoch, for names.

    Returns:
        How many files were damaged, and were set aside.
    """
    damaged = 0
    batch.discard(host, directory, now_ns, wait_s=0)
    for path in segments.listing(directory):
        with contextlib.suppress(FileNotFoundError):
            if path.name.endswith(SPLIT_SUFFIX):
                damaged += _write_members(host, path) is None
            elif path.name.endswith(batch.PART_SUFFIX):
                path.unlink()  # of a write that death cut short
    with contextlib.suppress(OSError):
        directory.rmdir()  # succeeds only when nothing is left
    return damaged


def due(host: HostPaths) -> Iterator[Body]:
    """The bodies of a host, oldest batch first; none of a batch in which a burst is being split."""
    for directory in sorted(segments.listing(host.outbox)):
        paths = sorted(segments.listing(directory))
        if any(path.name.endswith(SPLIT_SUFFIX) for path in paths):
            continue
        for path in paths:
            if path.name.endswith(BODY_SUFFIX):
                yield Body(host, path)


def archive(body: Body, data: bytes, now: datetime) -> None:
    """Note a body that was accepted.

    Args:
        body: the body.
        data: its bytes, as they were sent.
        now: the day decides on the archive's file; in UTC.
    """
    files.ensure_directory(body.host.sent)
    files.append_line(body.host.sent / f"{now:%Y-%m-%d}.jsonl", data)


def let_go(body: Body) -> None:
    """Unlink a body, and its batch if it was the last one."""
    body.path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        body.path.parent.rmdir()


def rejected(body: Body, reason: str) -> bool:
    """Keep a body that was refused, with the reason, for a look; False if it is gone already."""
    files.ensure_directory(body.host.rejected)
    word = body.host.rejected / f"{body.key}.reason.txt"
    files.replace_bytes(word, reason.encode() + b"\n")
    try:
        os.rename(body.path, body.host.rejected / body.path.name)
    except FileNotFoundError:
        word.unlink()
        return False
    with contextlib.suppress(OSError):
        body.path.parent.rmdir()
    return True


def split(body: Body) -> list[Body] | None:
    """Turn a refused burst into bodies of one event each, in order of time.

    Returns:
        The bodies; none if somebody else split it. None if it is no burst, but damage, and was set aside.
    """
    path = body.path.with_suffix(SPLIT_SUFFIX)
    try:
        os.rename(body.path, path)
        members = _write_members(body.host, path)
    except FileNotFoundError:
        return []
    return None if members is None else [Body(body.host, member) for member in members]


def member_key(burst_key: str, index: int) -> str:
    """The key of one event of a split burst."""
    return hashlib.sha256(f"{burst_key}/{index}".encode()).hexdigest()


def _write_members(host: HostPaths, path: Path) -> list[Path] | None:
    """Write the members of a split file beside it, then unlink it; None if it is damaged."""
    key = path.name.removesuffix(SPLIT_SUFFIX)
    try:
        events = burst.expand(b"".join(segments.chunks(path)))
    except burst.NotABodyError:
        damage.set_aside(host, path)
        return None
    members = []
    for index, event in enumerate(events):
        member = path.with_name(f"{member_key(key, index)}{BODY_SUFFIX}")
        files.replace_bytes(member, burst.dumps(event).encode(), durable=True)
        members.append(member)
    path.unlink()
    return members


def decoded(data: bytes) -> dict[str, Any]:
    """A body as JSON; empty if it is none, which only damage on the disk can bring about."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
