"""The outbox: durable bodies, one file each, and where they go from there.

    outbox/<batch>/<key>.json ──delivered──▶ sent/<date>.jsonl
                    │          ──rejected──▶ rejected/<key>.json, <key>.reason.txt
                    └──split──▶ <key>.split ──▶ one <key>.json for each event of a refused burst

A body is archived before it is unlinked, and its reason stands before it is rejected: death in between
repeats the step and loses nothing. A file that vanishes under our hands was another sidecar's success.

Races, continued from ``discarding.py``; ``split.py`` has the last one:

15. Death between the collector's answer and the archive, or between archive and unlink: the body is sent
    again under the same key, which the collector knows.

This room must never send, and never decide what an answer means.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, HostPaths

from . import discarding, segments, split
from .body import Body


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
    discarding.discard(host, directory, now_ns, wait_s=0)
    for name in segments.names(directory):
        with contextlib.suppress(FileNotFoundError):
            if name.endswith(SPLIT_SUFFIX):
                damaged += split.finish(host, directory / name) is None
            elif name.endswith(files.PART_SUFFIX):
                (directory / name).unlink()  # of a write that death cut short
    with contextlib.suppress(OSError):
        directory.rmdir()  # succeeds only when nothing is left
    return damaged


def adopt(directory: Path, into: HostPaths) -> None:
    """Make a committed batch of another host ours in one rename, as soon as it holds nothing but bodies."""
    names = [name for name in segments.names(directory) if not name.startswith(".")]
    if names and all(name.endswith(BODY_SUFFIX) for name in names):
        files.ensure_directory(into.outbox)
        with contextlib.suppress(FileNotFoundError):  # another sidecar was first
            os.rename(directory, into.outbox / directory.name)


def due(host: HostPaths) -> Iterator[Body]:
    """The bodies of a host, oldest batch first; none of a batch in which a burst is being split."""
    for directory in segments.listing(host.outbox):
        names = segments.names(directory)
        if any(name.endswith(SPLIT_SUFFIX) for name in names):
            continue
        for name in names:
            if name.endswith(BODY_SUFFIX):
                yield Body(host, directory / name)


def let_go(body: Body) -> None:
    """Unlink a body, and its batch if it was the last one."""
    body.path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        body.path.parent.rmdir()


def rejected(body: Body, reason: str) -> bool:
    """Keep a body that was refused, with the reason, for a look; False if it is gone already."""
    files.ensure_directory(body.host.rejected)
    kept = body.host.rejected / body.path.name
    word = reason_of(kept)
    files.replace_bytes(word, reason.encode() + b"\n")
    try:
        os.rename(body.path, kept)
    except FileNotFoundError:
        if not os.path.lexists(kept):  # else another sidecar rejected it
            word.unlink(missing_ok=True)
        return False
    with contextlib.suppress(OSError):
        body.path.parent.rmdir()
    return True


def reason_of(rejected_body: Path) -> Path:
    """The file that says why a body was refused."""
    return rejected_body.with_name(f"{rejected_body.name.removesuffix(BODY_SUFFIX)}.reason.txt")
