"""Bodies that were made elsewhere become bodies of this host's outbox, byte for byte, under their own keys.

Each is written to ``work/.<batch>.part``, brought to the disk and renamed to ``outbox/<batch>/<key>.json``:
there it is whole or not at all, and a sidecar that lives may deliver it at once. (A directory of ours in
``work/`` would be no batch in the making to a sidecar: it would take it over, and begin again.) A sidecar
removes a batch in which nothing is left, and a draft goes with ``work/`` when telemetry is switched off;
both are made again, unless it is off.

This room must never send, and never write where telemetry is off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from flwr_telemetry import files
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, HostPaths

from . import burst, segments, stages
from .body import decoded, key_of
from .cursor import Handed
from .errors import UnusableHomeError
from .split import member_key

_TRIES = 100


class Intake:
    """A batch of this host that bodies are put into.

    Args:
        host: whose.
        name: of the batch.
        may_go_on: consent, as it is now.
    """

    def __init__(self, host: HostPaths, name: str, may_go_on: Callable[[], bool]) -> None:
        self._host = host
        self._batch = host.outbox / name
        self._draft = host.work / f".{name}{files.PART_SUFFIX}"
        self._may_go_on = may_go_on
        for draft in segments.names(host.work):
            if draft.startswith(".") and draft.endswith(files.PART_SUFFIX):
                (host.work / draft).unlink(
                    missing_ok=True
                )  # of a relay that was killed; one that lives goes on

    def put(self, key: str, data: bytes) -> bool:
        """Put a body there, durably; False if telemetry is off.

        Raises:
            UnusableHomeError: somebody removes the directories as often as they are made.
            TelemetryError, OSError: it cannot be written.
        """
        for _ in range(_TRIES):
            if not self._may_go_on():
                return False
            try:
                self._write(data)
                files.ensure_directory(self._host.outbox)
                files.ensure_directory(self._batch)
                segments.rename(self._draft, self._batch / f"{key}{BODY_SUFFIX}")
            except FileNotFoundError:
                continue
            return True
        raise UnusableHomeError(f"{self._batch} is removed as often as it is made")

    def _write(self, data: bytes) -> None:
        for directory in (self._host.root, self._host.work):
            files.ensure_directory(directory)
        descriptor = files.open_file(self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            files.write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def settle(self) -> None:
        """Bring the names to the disk, and leave no draft."""
        self._draft.unlink(missing_ok=True)
        for directory in (self._batch, self._host.outbox):
            try:
                segments.fsync_directory(directory)
            except FileNotFoundError:
                continue  # all of it is delivered


def waiting(host: HostPaths) -> set[str]:
    """The keys of the bodies in the outbox of a host."""
    return {
        name.removesuffix(BODY_SUFFIX).removesuffix(SPLIT_SUFFIX)
        for directory in segments.listing(host.outbox)
        for name in segments.names(directory)
        if name.endswith((BODY_SUFFIX, SPLIT_SUFFIX))
    }


def about_to_hand(host: HostPaths, end: int) -> Handed:
    """Where the archive of a host ends now, for ``taken``."""
    newest = max(stages.archive_files(host), default=None, key=lambda path: path.name)
    try:
        size = 0 if newest is None else os.lstat(newest).st_size
    except FileNotFoundError:
        size = 0
    return Handed(end, str(host.root), "" if newest is None else newest.name, size)


def taken(host: HostPaths, handed: Handed | None, bodies: Mapping[str, bytes]) -> set[str]:
    """The keys of the bodies that this host has already: they wait, or were answered since ``handed``.

    What was archived before that went somewhere else: a home may have delivered into the very file that is
    relayed. A burst that was refused is told by its first event, which is decided first.
    """
    waits = waiting(host)
    refused = {path.name.removesuffix(BODY_SUFFIX) for path in stages.rejected_bodies(host)}
    if handed is None or handed.outbox != str(host.root):
        return bodies.keys() & waits
    accepted = _archived(host, handed)
    return {
        key
        for key, data in bodies.items()
        if key in waits | refused | accepted or _first_is_known(key, data, waits | refused, accepted)
    }


def _archived(host: HostPaths, since: Handed) -> set[str]:
    keys = set()
    for path in stages.archive_files(host):
        if path.name >= since.archive:
            try:
                start = since.size if path.name == since.archive else 0
                keys |= {key_of(line) for line, _ in stages.read_archive(path, start)}
            except FileNotFoundError:
                continue  # its time was over
    return keys


def _first_is_known(key: str, data: bytes, by_name: set[str], by_bytes: set[str]) -> bool:
    if "burst" not in decoded(data):
        return False
    if member_key(key, 0) in by_name:
        return True
    try:
        first = next(burst.events(data))
    except (burst.NotABodyError, StopIteration):
        return False
    return key_of(burst.dumps(first).encode()) in by_bytes
