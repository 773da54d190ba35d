"""The queue: durable bodies, one file each, from the commit until the collector has decided on them.

    outbox/<batch>/<key>.json ──accept──▶ sent/<date>.jsonl
                    │              └─────▶ rejected/<key>.<first>.json, of a part that was refused (OTLP)
                    │          ──reject──▶ rejected/<key>.json, <key>.reason.txt
                    └──split──▶ <key>.split ──▶ one <key>.json for each event of a refused burst

A body is archived before it is unlinked, and its reason is written before it is moved to ``rejected/``. A
death in between repeats the step and loses nothing. If a file vanishes, another sidecar has settled it.

Races, continued from ``outbox/discard.py``; ``outbox/split.py`` has the last one:

15. Death between the collector's answer and the archive, or between archive and unlink: the body is sent
    again under the same key, which the collector knows.

This module never sends, and never decides what an answer means.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, HostPaths, is_whole
from flwr_telemetry.named import Any, NamedTuple
from flwr_telemetry.pending import TAKEN_SUFFIX

from ..burst import codec
from ..runtime import Runtime
from ..spool import quarantine
from ..spool.directory import entry_names, listing, remove_if_empty
from . import archive, discard, forgotten, split
from .body import Body, intact

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    from .pieces import Refusal

log = logging.getLogger("flwr_telemetryd")

_MAX_REASON_BYTES = 4096


class Loaded(NamedTuple):
    """A body that was read and checked."""

    body: Body
    data: bytes
    event: dict[str, Any]
    """The body as JSON."""


class Queue:
    """This host's outbox as the uploader sees it: ``load`` a body, send it, then ``accept`` or ``reject`` it.

    Its memory (accepted bodies, split bursts) may be lost at any moment without harm.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._state = runtime.state
        self._undecided: dict[Path, split.Split] = {}
        """Split bursts, by the path of their first event."""
        self._accepted: dict[Path, list[Callable[[], None]]] = {}
        """Accepted bodies that are still there, each with the steps that keep it and are not done yet."""
        self._whole: dict[str, dict[Path, object]] = {}
        """Batches without an unfinished step, by host, with the signatures of their directories."""

    def repair(self, host: HostPaths) -> None:
        """Finish the steps that a death cut short in the outbox of ``host``.

        A batch is read only if its directory has changed, because there may be a hundred thousand bodies.
        """
        known, whole = self._whole.get(host.name, {}), dict[Path, object]()
        for directory in listing(host.outbox):
            signature = files.signature(directory)
            is_known = directory in known and known[directory] == signature
            name = f"outbox/{directory.name}"
            if is_known or self._runtime.faults.run(name, self._repair, False, host, directory):
                whole[directory] = signature
        self._whole[host.name] = whole

    def _repair(self, host: HostPaths, directory: Path) -> bool:
        """Finish the unfinished steps of a batch; whether there was none."""
        names = entry_names(directory)
        if names and not any(map(_is_of_a_step, names)):
            return True
        runtime = self._runtime
        self._state.damaged += repair(host, directory, runtime.owner, runtime.clock.time_ns())
        return False

    def due(self) -> Iterator[Body]:
        """The bodies to send, oldest batch first; none of a batch in which a burst is being split.

        The events of a split burst wait for its first event, until the collector has decided on that.
        """
        self._undecided = {first: whole for first, whole in self._undecided.items() if first.exists()}
        held = {event.path.name for whole in self._undecided.values() for event in whole.members(1)}
        for directory in listing(self._runtime.host.outbox):
            names = entry_names(directory)
            if any(name.endswith(SPLIT_SUFFIX) for name in names):
                self._whole = {}  # another sidecar died amid it, within one tick of the file system's clock
                continue
            for name in names:
                if name.endswith(BODY_SUFFIX) and name not in held:
                    yield Body(self._runtime.host, directory / name)

    def load(self, body: Body) -> Loaded | None:
        """Read and check a body; None if there is nothing to send.

        There is nothing to send in these cases:

        - another sidecar has settled it;
        - it is damaged: it is quarantined;
        - the collector accepted it before, but the archive failed: it is archived now;
        - its source ID is forgotten: it is deleted.
        """
        try:
            data = body.read()
        except FileNotFoundError:
            self._accepted.pop(body.path, None)
            return None
        except quarantine.NOT_OURS_ERRORS:
            data = b""
        loaded = Loaded(body, data, intact(body.key, data))
        if not loaded.event:
            log.warning("%s is no body: it is quarantined in %s", body.path, body.host.damaged)
            quarantine.quarantine(body.host, body.path)
            self._state.damaged += 1
        elif body.path in self._accepted:
            self._archive(loaded)
        elif self._is_forgotten(loaded):
            _remove(body)
        else:
            return loaded
        return None

    def accept(
        self, loaded: Loaded, *, status: int | None, url: str, refusals: Collection[Refusal] = ()
    ) -> None:
        """Archive and remove a body that the collector accepted.

        Args:
            loaded: the body.
            status: the status code of the answer; None without one.
            url: the collector; ``archive.NOWHERE`` if the body is kept here and never sent.
            refusals: the parts that the collector refused; they go to ``rejected/``.

        Raises:
            OSError: the disk is full, for example; ``load`` tries again, and the body is not sent again.
        """
        now, host = self._runtime.clock.now(), loaded.body.host
        found = [(loaded.body.key, loaded.data, "")]
        if refusals:
            from .pieces import divide

            found = [*divide(loaded.body.key, loaded.data, refusals)]
        self._accepted[loaded.body.path] = [
            partial(keep_refused, host, name, data, reason)
            if reason
            else partial(archive.archive, host, data, archive.receipt(name, now, status, url))
            for name, data, reason in found
        ]
        if url != archive.NOWHERE:
            refused = sum(refusal.refused for refusal in refusals)
            self._state.rejected += refused
            self._state.delivered_events += codec.count(loaded.event) - refused
            self._state.last_delivery = now.isoformat()
        self._archive(loaded)

    def reject(self, loaded: Loaded, reason: str) -> Iterable[Body]:
        """Move a body that the collector refused to ``rejected/``, or split it if it is a burst.

        If the first event of a split burst is refused, its other events are rejected, too.

        Returns:
            The bodies to send instead: the events of the burst.
        """
        body = loaded.body
        if self._is_forgotten(loaded):  # since the request began
            _remove(body)
        elif "burst" in loaded.event:
            return self._split(body)
        else:
            self._reject(body, reason)
            if (whole := self._undecided.pop(body.path, None)) is not None:
                for sibling in whole.members(1):
                    self._reject(sibling, f"{reason} (the first event of its burst)")
        return ()

    def _is_forgotten(self, loaded: Loaded) -> bool:
        return forgotten.holds(self._runtime.home, loaded.data)

    def _archive(self, loaded: Loaded) -> None:
        path = loaded.body.path
        steps = self._accepted[path]
        while steps:
            if not self._is_forgotten(loaded):
                steps[0]()
            del steps[0]
        _remove(loaded.body)
        del self._accepted[path]

    def _split(self, body: Body) -> Iterable[Body]:
        log.info("burst %s refused: splitting it", body.key)
        parts = split.split(body)
        if parts is None:
            self._state.damaged += 1
            return ()
        for first in itertools.islice(parts.members(), 1):
            self._undecided[first.path] = parts
        return parts.members()

    def _reject(self, body: Body, reason: str) -> None:
        """Move a body to ``rejected/``, beside the reason, unless another sidecar has settled it."""
        files.ensure_directory(body.host.rejected)
        kept = body.host.rejected / body.path.name
        reason_file = reason_of(kept)
        files.replace_bytes(reason_file, reason.encode() + b"\n")
        try:
            os.rename(body.path, kept)
        except FileNotFoundError:
            if not os.path.lexists(kept):  # otherwise another sidecar rejected it
                reason_file.unlink(missing_ok=True)
            return
        remove_if_empty(body.path.parent)
        # The collector's answer may quote the body, so the reason is not logged.
        log.warning("body %s rejected; its reason is beside it", body.key)
        self._state.rejected += 1


def keep_refused(host: HostPaths, name: str, data: bytes, reason: str) -> None:
    """Write a body or a piece of one to ``rejected/``, after the reason beside it.

    Args:
        host: the host in whose directory it is kept.
        name: the key of the body, or ``Piece.name``.
        data: the body or piece.
        reason: the collector's answer.
    """
    files.ensure_directory(host.rejected)
    kept = host.rejected / f"{name}{BODY_SUFFIX}"
    files.replace_bytes(reason_of(kept), reason.encode() + b"\n")
    files.replace_bytes(kept, data, durable=True)
    # The collector's answer may quote the body, so the reason is not logged.
    log.warning("body %s rejected; its reason is beside it", name)


def _is_of_a_step(name: str) -> bool:
    """Whether a file of a committed batch tells of a step that is not finished."""
    return name.endswith((SPLIT_SUFFIX, TAKEN_SUFFIX, files.PART_SUFFIX)) or is_whole(name)


def repair(host: HostPaths, directory: Path, owner: str, now_ns: int) -> int:
    """Finish the steps that a death cut short in a committed batch: discard segments, split bursts.

    Args:
        host: the host of the batch.
        directory: the batch.
        owner: see ``Batch.owner``, for a batch of late events.
        now_ns: nanoseconds since the epoch, for names.

    Returns:
        How many damaged files were quarantined.
    """
    damaged = 0
    discard.discard(host, directory, owner, now_ns, wait_s=0)
    for name in entry_names(directory):
        with contextlib.suppress(FileNotFoundError):
            if name.endswith(SPLIT_SUFFIX):
                damaged += split.finish(host, directory / name) is None
            elif name.endswith(files.PART_SUFFIX):
                (directory / name).unlink()
    remove_if_empty(directory)
    return damaged


def adopt(directory: Path, into: HostPaths) -> None:
    """Move a committed batch of another host here in one rename, once it holds nothing but bodies."""
    names = [name for name in entry_names(directory) if not name.startswith(".")]
    if names and all(name.endswith(BODY_SUFFIX) for name in names):
        files.ensure_directory(into.outbox)
        with contextlib.suppress(FileNotFoundError):  # another sidecar was first
            os.rename(directory, into.outbox / directory.name)


def reason_of(rejected_body: Path) -> Path:
    """The file that says why the collector refused a body."""
    return rejected_body.with_name(f"{rejected_body.name.removesuffix(BODY_SUFFIX)}.reason.txt")


def read_reason(rejected_body: Path) -> str | None:
    """The reason why the collector refused a body; None if it cannot be read."""
    with contextlib.suppress(OSError, TelemetryError):
        return files.read_bytes(reason_of(rejected_body), _MAX_REASON_BYTES).decode(errors="replace").strip()
    return None


def _remove(body: Body) -> None:
    body.path.unlink(missing_ok=True)
    remove_if_empty(body.path.parent)
