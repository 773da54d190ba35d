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
from collections.abc import Callable

from flwr_telemetry import files
from flwr_telemetry.layout import BODY_SUFFIX, HostPaths

from . import segments
from .errors import UnusableHomeError

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
