"""Caches the settings, the IDs and the packed contexts of a home, and reads them again once a second.

``Emitter`` in ``emitter.py`` is its subclass, which records events with these values. The user's opt-out is
checked here, in ``_refresh`` before an event, and in ``_may_create`` before a file is created.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from types import ModuleType

from . import details, files, identity, log, mounts, packing, redaction, settings, source, system
from .errors import HomeUnavailableError, LoadingError, SpoolUnsafeError
from .imports import undisturbed
from .layout import FIELD_COUNT, FIELDS_DIGEST, MAX_NOTICE_BYTES, Home, HostPaths, home_directory
from .named import Any

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    from .shared_home import SharedHome

_MANY_EVENTS = 50
"""A process with more events than this between two refreshes loads msgpack, which packs faster."""

_MIB = 1024 * 1024


class HomeCache:
    """The settings, IDs and packed contexts of a process and its home.

    Args:
        warn: logs one warning, given its cause and its text.
        open_shared: makes the queue of a shared home; None treats every home as this machine's own.
    """

    def __init__(
        self, warn: Callable[[str, str], None], open_shared: Callable[[Any, Home], SharedHome] | None
    ) -> None:
        self._warn = warn
        self._open_shared = open_shared
        # A program may have replaced a function that these call. Then the field is unknown; no event is lost.
        self._cluster: str = log.quietly(source.new_id) or identity.UNKNOWN
        self._mounts: mounts.Table | None = mounts.table()
        """The table of mounts until the first refresh, because reading it takes 0.1 ms."""
        self._redactor: redaction.Redactor | None = log.quietly(redaction.identity_redactor, self._mounts)
        self._static: dict[str, dict[str, Any]] = {}
        self._identifying: set[int] = set()
        """The threads that read or make the source ID; shared with every sibling."""
        self._shared_homes: dict[Home, SharedHome] = {}
        """Those of this process; shared with every sibling."""

    def _forget(self) -> None:
        """Forget the settings and IDs."""
        self._details = details.DetailsEncoder(self._redactor)
        self._seen: tuple[Any, ...] | None = None
        self._environ: object = None
        self._variables = settings.variables
        """Reads the variables of ``_environ``."""
        self._refreshed_at = self._refresh_at = 0.0
        self._events = 0
        """The number of events since the last refresh."""
        self._signatures: tuple[Any, ...] = ()
        self._ids: dict[str, str] = {}
        self._contexts: dict[str, tuple[bytes, bytes]] = {}
        self._untold: tuple[str, ...] = ()
        """The fields that are not reported yet, because no notice of this home has named them."""
        self._home: Home
        self._host: HostPaths
        self._settings: settings.Settings
        self._enabled = self._logging = False
        self._kept_by = ""
        self.has_hardware: bool = True
        self._cap_bytes = 0.0
        self._is_own = False
        """Whether the home is known to be this machine's own, so that its files may be locked."""
        self._shared: SharedHome | None = None
        """The queue of a shared home; None otherwise, and in a ``Worker``."""

    def _close_writer(self) -> None:
        """Close the segment, because the next event may belong to another home."""
        raise NotImplementedError

    def _refresh(self, now: float) -> None:
        """Read settings and source again if they have changed."""
        variables = settings.variables()
        try:
            home = Home(home_directory(os.environ))
        except HomeUnavailableError:
            if (refusal := settings.environment_refusal(os.environ)) is None:
                raise
            self._use(settings.Settings(consent=refusal))
            self._seen = None
            return
        if variables != self._seen:
            self._shared = self._shared_home(home)
        if self._shared is None:
            self._read(home, has_new_variables=variables != self._seen)
        else:
            self._close_writer()  # that of the previous home
            refusal = settings.environment_refusal(os.environ)
            enabled = settings.Consent(enabled=True, decided_by="default", reason="")
            is_logging = os.environ.get("FLWR_TELEMETRY_LOGGING") == "1"
            self._use(settings.Settings(consent=refusal or enabled, logging=is_logging))
            # The worker adds the context. With an opt-out it never reads the home, so a logged payload has
            # no source.
            self._ids = {}
            self._contexts = {} if refusal else dict.fromkeys(identity.PACKAGES, packing.NO_CONTEXT)
        self._environ, self._variables = os.environ, settings.reader(os.environ)
        if self._events > _MANY_EVENTS:
            log.quietly(self._details.use_msgpack)
        self._seen = variables
        self._refreshed_at, self._refresh_at = now, now + settings.RECHECK_S
        self._events = 0

    def _shared_home(self, home: Home) -> SharedHome | None:
        """The one queue of this process for a home; None if the home is not shared."""
        table, self._mounts = self._mounts, None
        self._is_own = self._open_shared is not None and not mounts.is_shared(home.path, table)
        if self._open_shared is None or self._is_own:
            return None
        if home not in self._shared_homes:
            self._shared_homes.setdefault(home, self._open_shared(self, home))
        return self._shared_homes[home]

    def _host_of(self, home: Home) -> HostPaths:
        """The directory of this machine."""
        return home.host()

    def _read(self, home: Home, *, has_new_variables: bool) -> None:
        """Read settings and source of a home again if they have changed."""
        texts, found = settings.read_texts(home), log.quietly(source.read, home.source)
        signatures = (settings.signature(home, texts=texts), found)
        if not has_new_variables and signatures == self._signatures:
            return
        known = self._load(home, texts)
        self._close_writer()
        self._home, self._host = home, self._host_of(home)
        self._use(known)
        consent = self._settings.consent
        if consent.malformed:
            self._warn(consent.reason, f"Telemetry is off: {consent.reason}")
        if consent.enabled or self._logging:
            self._identify(found, may_create=consent.enabled)
        # The source file may have been created just now. Without it the next refresh tries again.
        is_known = self._ids.get("source") != source.UNAVAILABLE
        found = found or log.quietly(source.read, home.source)
        self._signatures = (signatures[0], found) if is_known else ()

    def _use(self, known: settings.Settings) -> None:
        """Use these settings from now on; those that every event needs get attributes of their own."""
        self._settings = known
        self._enabled, self._logging = known.consent.enabled, known.logging
        self._kept_by, self.has_hardware = known.kept_by, known.hardware
        self._cap_bytes = min(known.limits.spool_max_mib * _MIB, system.deadly_size_bytes())

    def _identify(self, found: str | None, *, may_create: bool) -> None:
        """Update the IDs by the source file; create that one if it is missing and consent allows it.

        Raises:
            LoadingError: a signal handler has interrupted this thread here; it may hold the source's lock.
        """
        thread = get_ident()
        if thread in self._identifying:
            raise LoadingError("the event was reported while the source ID is made, which it needs itself")
        try:
            self._identifying.add(thread)
            found = found or (log.quietly(self._new_source_id) if may_create else None)
            self._ids = self._ids_with(found or source.UNAVAILABLE)
            self._contexts = {}
            self._untold = _untold(self._home.noticed)
        finally:
            self._identifying.discard(thread)

    def _ids_with(self, source_id: str) -> dict[str, str]:
        partner = log.quietly(identity.partner_id, os.environ.get("FLWR_TELEMETRY_PARTNER_ID"))
        return {"partner": partner or identity.UNKNOWN, "source": source_id, "cluster": self._cluster}

    def _new_source_id(self) -> str | None:
        """The source ID of a home that had none a moment ago."""
        if not self._may_create():
            return source.read(self._home.source)
        with contextlib.suppress(OSError):  # the writer gets the same error, and a better message
            files.make_home(self._home.path)
        # This is called once a second, and must not wait each time for a process that keeps the file locked.
        has_failed = self._ids.get("source") == source.UNAVAILABLE
        return source.ensure(self._home.source, 0.0 if has_failed else source.HEAL_WAIT_S)

    def _context_of(self, package: str) -> tuple[bytes, bytes]:
        """The packed context of a package's events, made once for many events."""
        if package not in self._static:
            static = identity.static_context(package, identity.package_version(package))
            redacted = (
                identity.without_names(static) if self._redactor is None else self._redactor.redact(static)
            )
            self._static[package] = redacted
        has_partner = identity.PACKAGES[package].has_partner
        known = self._ids or self._ids_with(source.UNAVAILABLE)
        ids = {name: value for name, value in known.items() if has_partner or name != "partner"}
        marks = {packing.UPLOAD: False} if self._kept_by else {}
        static = identity.without_fields(self._static[package], self._untold)
        self._contexts[package] = packing.context_parts(ids, {**static, **marks})
        return self._contexts[package]

    def _may_create(self) -> bool:
        return self._load(self._home).consent.enabled

    def _load(self, home: Home, texts: settings.Texts | None = None) -> settings.Settings:
        return settings.load(home, os.environ, texts=texts)


def _untold(noticed: Path) -> tuple[str, ...]:
    """As ``context.untold``, but without loading that module if the notice has all fields of this release.

    Raises:
        LoadingError: it is being loaded.
    """
    try:
        text = files.read_bytes(noticed, MAX_NOTICE_BYTES)
    except FileNotFoundError:
        return ()
    except (OSError, SpoolUnsafeError):
        text = b""
    is_current = text.startswith(FIELDS_DIGEST.encode()) and text.count(b"\n") > FIELD_COUNT
    return () if is_current else identity.computed(declared().untold, noticed) or ()


@undisturbed
def declared() -> ModuleType:
    """The module ``context``, which declares all fields."""
    from . import context

    return context
