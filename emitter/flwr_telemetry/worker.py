"""Does the work for one shared home, in the helper thread that may wait for its file server.

It is a copy of the process's emitter. It gets events that are checked and packed except for their context,
reads settings and source, and writes whole segments. ``shared_home.py`` calls it, one thread at a time.
"""

from __future__ import annotations

import time

from . import files, mounts, packing, settings
from .emitter import DISABLED, MAX_EVENTS, SPOOLED, Delivery, Emitter
from .errors import LoadingError
from .layout import Home, HostPaths
from .machine import own_host
from .named import Self
from .spool import CreationRefusedError
from .spool.whole import WholeWriter

_DIRECT_KINDS = frozenset({"nfs", "nfs4"})
"""File systems on which a write with ``O_DIRECT`` needs no alignment."""


class Worker(Emitter):
    """The copy of an emitter for one shared home; made by ``of``."""

    @classmethod
    def of(cls, emitter: Emitter, home: Home) -> Self:
        """A worker for a home, with the IDs of an emitter."""
        worker = object.__new__(cls)
        vars(worker).update(vars(emitter))
        worker._start_afresh()
        worker._home = home
        return worker

    def write(self, events: list[tuple[bytes, str]]) -> str:
        """Write events to the spool; the result is that of their futures. May raise.

        Args:
            events: of each one, the payload without context, and the package.
        """
        now, variables = time.monotonic(), settings.variables()
        self._events += len(events)
        is_due = (
            not self._refreshed_at <= now < self._refresh_at
            or self._events > MAX_EVENTS
            or self._seen != variables
        )
        if is_due:
            self._read(self._home, has_new_variables=self._seen != variables)
            self._seen, self._events = variables, 0
            self._refreshed_at, self._refresh_at = now, now + settings.RECHECK_S
        if not self._enabled:
            return DISABLED
        packed = [packing.with_context(bare, self.context_of(package)) for bare, package in events]
        try:
            writer = self._whole_writer or self._open_whole()
            writer.append(b"".join(map(packing.frame, packed)), self._cap_bytes, len(events))
        except CreationRefusedError:
            return DISABLED
        if is_due:
            self.to_wake: Delivery | None = Delivery(self._home, self._host, self._settings)
        return SPOOLED

    def is_off(self) -> bool:
        """Whether the settings, read a moment ago, switch telemetry off; any thread may ask."""
        is_fresh = self._refreshed_at <= time.monotonic() < self._refresh_at
        return is_fresh and not self._enabled and self._seen == settings.variables()

    def context_of(self, package: str) -> tuple[bytes, bytes]:
        """The packed context of a package's events, as far as it is known; any thread may ask."""
        return self._contexts.get(package) or self._context_of(package)

    def count_dropped(self, count: int) -> None:
        """Count events that could not be written, if consent allows that."""
        if self._may_create():
            files.append_bytes(self._host.dropped, b"\0" * count)

    def flush_spool(self, timeout_s: float) -> bool:
        """As ``emit.flush``; may wait for the server for longer, and may raise."""
        began = time.monotonic()
        with self._sibling() as sibling:
            sibling._read(self._home, has_new_variables=True)  # noqa: SLF001 - as `_sibling`
            return sibling._enabled and sibling._deliver(began, timeout_s)  # noqa: SLF001

    def end_turn(self) -> None:
        """In a child process, end the turn at the spool that it inherited from its parent's helper."""
        if self._whole_writer is not None:
            self._whole_writer.close()

    def _start_afresh(self) -> None:
        super()._start_afresh()
        self._whole_writer: WholeWriter | None = None

    def _close_writer(self) -> None:
        super()._close_writer()
        self.end_turn()
        self._whole_writer = None

    def _open_whole(self) -> WholeWriter:
        mount = mounts.find(self._home.path)
        is_direct = mount is not None and mount.kind in _DIRECT_KINDS
        self._whole_writer = WholeWriter(
            self._host, self._may_make, self._tell_first_contact, is_direct=is_direct
        )
        return self._whole_writer

    def _may_make(self) -> bool:
        """Consent, read again, before a directory is created.

        Raises:
            LoadingError: another machine has its name by now; the event has to be written again.
        """
        if not self._may_create():
            return False
        if (host := self._host_of(self._home)) != self._host:
            self._close_writer()
            self._host = host
            raise LoadingError(f"{host.root} is this machine's directory by now")
        return True

    def _load(self, home: Home, texts: settings.Texts | None = None) -> settings.Settings:
        """The settings of a home.

        Raises:
            LoadingError: its server gave no answer; the events stay in memory until consent is known.
        """
        known = super()._load(home, texts)
        if known.unanswered:
            raise LoadingError(known.consent.reason)
        return known

    def _host_of(self, home: Home) -> HostPaths:
        """The directory of this machine, which is created and claimed if consent allows that."""
        return own_host(home, self._may_create)
