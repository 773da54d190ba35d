"""Defines every path below a home, as frozen values.

``Home`` is the ``.flwr`` directory, ``HostPaths`` the part of it that belongs to one host. Making one never
touches the disk. No other module spells the name of a file or directory in a home.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from . import system
from .errors import HomeUnavailableError
from .named import Any, NamedTuple

HEARTBEAT_PREFIX = "service-"
SEALED_PREFIX = "sealed-"
SEGMENT_SUFFIX = ".msgpack"
BODY_SUFFIX = ".json"
SPLIT_SUFFIX = ".split"
ADOPTED_SUFFIX = "-adopted"
"""The suffix of a batch whose events come from other hosts of the home."""

WHOLE_DIGITS = 16
"""The number of hexadecimal digits in the name of a *whole* segment. Such a segment was written before it got
its name, and no process appends to it."""

GONE_HOSTS = "gone.hosts"
"""The directory of the common archive of hosts that are gone. No host has this name, because of its dot."""

FIELDS_DIGEST = "0c10874afb0a4468d90a12e3ca0d4ba55f6c9ac98019a624acf3bc7c4d4c90f7"
"""The SHA-256 of the names of all fields in ``context.py``, a line each: the first line of ``noticed``."""

FIELD_COUNT = 25
"""The number of all fields."""

MAX_NOTICE_BYTES = 64 * 1024

_MAX_HOST_LENGTH = 64
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def home_directory(environ: Mapping[str, str]) -> Path:
    """The ``.flwr`` directory: ``FLWR_HOME``, else ``~/.flwr``, made absolute.

    Raises:
        HomeUnavailableError: no home directory is known.
    """
    if configured := environ.get("FLWR_HOME"):
        return Path(os.path.normpath(configured if os.path.isabs(configured) else _made_absolute(configured)))
    home = system.user_home(environ)
    if not os.path.isabs(home):
        raise HomeUnavailableError("no home directory is known; set HOME or FLWR_HOME")
    return Path(home) / ".flwr"


@functools.cache
def _made_absolute(path: str) -> str:
    """A relative path by the working directory at the first call, because a process may change that."""
    try:
        return os.path.abspath(path)
    except OSError as error:
        msg = "FLWR_HOME is a relative path and the working directory is gone; set it to an absolute path"
        raise HomeUnavailableError(msg) from error


def host_name() -> str:
    """The name of this host's directory: the node name, safe as a file name, at most 64 characters."""
    safe = (letter if letter in _SAFE else "_" for letter in system.node_name()[:_MAX_HOST_LENGTH])
    return "".join(safe) or "_"


def whole_name(now_ns: int) -> str:
    """A new name for a whole segment; its draft is called ``.<name>.part``.

    Args:
        now_ns: nanoseconds since the epoch, because segments are taken in the order of their names.
    """
    return f"{SEALED_PREFIX}{max(now_ns, 0):019d}-{os.urandom(WHOLE_DIGITS // 2).hex()}{SEGMENT_SUFFIX}"


def is_whole(name: str) -> bool:
    """Whether a file of this name is a whole segment."""
    digits = name.removesuffix(SEGMENT_SUFFIX).rpartition("-")[2]
    return name.startswith(SEALED_PREFIX) and name.endswith(SEGMENT_SUFFIX) and len(digits) == WHOLE_DIGITS


def numbered_host(host: str, number: str) -> str:
    """The name ``<host>-<number>``, cut so that it has at most 64 characters."""
    return f"{host[: _MAX_HOST_LENGTH - len(number) - 1]}-{number}"


def is_heartbeat(name: str) -> bool:
    """Whether a file of this name in ``telemetry/`` is the heartbeat of a service."""
    return name.startswith(HEARTBEAT_PREFIX) and name.endswith(".json")


class _Below:
    """A path below another path of the same object, by the name of that attribute."""

    def __init__(self, parent: str, name: str) -> None:
        self._parent, self._name = parent, name

    def __get__(self, owner: Any, _: type) -> Path:
        above: Path = getattr(owner, self._parent)
        return above / self._name


class _HostFields(NamedTuple):
    telemetry: Path
    """The directory ``telemetry/`` of the home."""
    name: str
    """The name of the host's directory, as ``host_name`` makes it; on a shared home see ``machine.py``."""


class HostPaths(_HostFields):
    """The paths of one host below one home."""

    __slots__ = ()

    @property
    def root(self) -> Path:
        """``telemetry/<host>``."""
        return self.telemetry / self.name

    spool: _Below = _Below("root", "spool")
    """The directory of segments."""
    events: _Below = _Below("spool", "events.msgpack")
    """The open segment."""
    flush: _Below = _Below("spool", "flush")
    """A process touches it to ask for delivery now."""
    work: _Below = _Below("root", "work")
    """Unfinished batches."""
    outbox: _Below = _Below("root", "outbox")
    """Committed batches."""
    sent: _Below = _Below("root", "sent")
    """The archive of accepted bodies."""
    rejected: _Below = _Below("root", "rejected")
    """Bodies that the collector rejected."""
    damaged: _Below = _Below("root", "damaged")
    """Quarantined bytes that are no record."""
    dropped: _Below = _Below("root", "dropped")
    """One byte for every event that was dropped at a cap."""
    not_before: _Below = _Below("root", "not-before")
    """The time of a ``Retry-After``, for the next sidecar."""
    lock: _Below = _Below("root", "sidecar.lock")
    """A running sidecar holds its lock; it is never unlinked."""
    starting: _Below = _Below("root", "sidecar.starting")
    """Exists while a process starts a sidecar, if no lock can be relied on."""
    state: _Below = _Below("root", "sidecar.json")
    """The sidecar's process and its last actions, for ``status``."""
    log: _Below = _Below("root", "sidecar.log")
    """The sidecar's log."""
    start_errors: _Below = _Below("root", "start-errors.log")
    """The last output of sidecars that died before they had a log; see ``start_errors.py``."""
    machine: _Below = _Below("root", "machine")
    """The machine that owns the directory, on a shared home; see ``machine.py``."""

    # Strings, because in a home of ten thousand hosts, making a path takes longer than listing it.

    @property
    def root_text(self) -> str:
        """``root``."""
        return f"{self.telemetry}/{self.name}"

    @property
    def unsent(self) -> tuple[str, str, str]:
        """``spool``, ``work`` and ``outbox``."""
        root = self.root_text
        return f"{root}/spool", f"{root}/work", f"{root}/outbox"

    @property
    def archives(self) -> tuple[str, str, str]:
        """``sent``, ``rejected`` and ``damaged``."""
        root = self.root_text
        return f"{root}/sent", f"{root}/rejected", f"{root}/damaged"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Every directory in ``root``."""
        return self.spool, self.work, self.outbox, self.sent, self.rejected, self.damaged

    @property
    def files(self) -> tuple[Path, ...]:
        """Every single file whose name is known beforehand."""
        spool = (self.events, self.flush, self.dropped, self.not_before)
        return *spool, self.lock, self.starting, self.state, self.log, self.start_errors, self.machine


class _HomeFields(NamedTuple):
    path: Path
    """Absolute; it need not exist."""


class Home(_HomeFields):
    """The ``.flwr`` directory."""

    __slots__ = ()

    source: _Below = _Below("path", "source")
    """Flower's own file, which holds the source ID."""
    telemetry: _Below = _Below("path", "telemetry")
    """The directory of everything but the source ID."""
    config: _Below = _Below("telemetry", "config.toml")
    """The user's settings."""
    forgotten: _Below = _Below("telemetry", "forgotten")
    """The SHA-256 of every forgotten source ID, one a line."""
    forgetting: _Below = _Below("telemetry", "forgetting")
    """The source ID that is being forgotten, until that is done."""
    noticed: _Below = _Below("telemetry", "noticed")
    """Written when a person could see the line of first contact; it names the fields."""

    def heartbeat(self, host: str) -> Path:
        """The heartbeat of a service on ``host``."""
        return self.telemetry / f"{HEARTBEAT_PREFIX}{host}.json"

    def host(self, name: str | None = None) -> HostPaths:
        """The paths of the host with this name; without a name, with the name of this host.

        Two machines of a shared home may have one name: ``machine.own_host`` gives this machine's directory.
        """
        return HostPaths(self.telemetry, name or host_name())

    @property
    def gone_hosts(self) -> HostPaths:
        """The common archive of hosts that are gone, laid out as the directory of a host."""
        return self.host(GONE_HOSTS)
