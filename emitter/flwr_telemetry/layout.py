"""Defines every path below a home, as frozen values.

``Home`` is the ``.flwr`` directory, ``HostPaths`` the part of it that belongs to one host. Making one never
touches the disk. No other module spells the name of a file or directory in a home.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .errors import HomeUnavailableError

HEARTBEAT_PREFIX = "service-"
SEALED_PREFIX = "sealed-"
SEGMENT_SUFFIX = ".msgpack"
BODY_SUFFIX = ".json"
SPLIT_SUFFIX = ".split"
ADOPTED_SUFFIX = "-adopted"
"""The suffix of a batch whose events come from other hosts of the home."""

_MAX_HOST_LENGTH = 64
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def home_directory(environ: Mapping[str, str]) -> Path:
    """The ``.flwr`` directory: ``FLWR_HOME``, else ``~/.flwr``, made absolute.

    Raises:
        HomeUnavailableError: no home directory is known.
    """
    if configured := environ.get("FLWR_HOME"):
        return Path(os.path.abspath(configured))
    home = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(home):
        raise HomeUnavailableError("no home directory is known; set HOME or FLWR_HOME")
    return Path(home) / ".flwr"


def host_name() -> str:
    """The name of this host's directory: the node name, safe as a file name, at most 64 characters."""
    node = os.uname().nodename
    safe = (letter if letter in _SAFE else "_" for letter in node[:_MAX_HOST_LENGTH])
    return "".join(safe) or "_"


def is_heartbeat(name: str) -> bool:
    """Whether a file of this name in ``telemetry/`` is the heartbeat of a service."""
    return name.startswith(HEARTBEAT_PREFIX) and name.endswith(".json")


class HostPaths(NamedTuple):
    """The paths of one host below one home."""

    telemetry: Path
    """The directory ``telemetry/`` of the home."""
    name: str
    """The name of the host's directory, as ``host_name`` makes it."""

    @property
    def root(self) -> Path:
        """``telemetry/<host>``."""
        return self.telemetry / self.name

    @property
    def spool(self) -> Path:
        """The directory of segments."""
        return self.root / "spool"

    @property
    def events(self) -> Path:
        """The open segment."""
        return self.spool / "events.msgpack"

    @property
    def flush(self) -> Path:
        """A process touches it to ask for delivery now."""
        return self.spool / "flush"

    @property
    def work(self) -> Path:
        """Unfinished batches."""
        return self.root / "work"

    @property
    def outbox(self) -> Path:
        """Committed batches."""
        return self.root / "outbox"

    @property
    def sent(self) -> Path:
        """The archive of accepted bodies."""
        return self.root / "sent"

    @property
    def rejected(self) -> Path:
        """Bodies that the collector rejected."""
        return self.root / "rejected"

    @property
    def damaged(self) -> Path:
        """Quarantined bytes that are no record."""
        return self.root / "damaged"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Every directory in ``root``."""
        return self.spool, self.work, self.outbox, self.sent, self.rejected, self.damaged

    @property
    def dropped(self) -> Path:
        """One byte for every event that was dropped at a cap."""
        return self.root / "dropped"

    @property
    def not_before(self) -> Path:
        """The time of a ``Retry-After``, for the next sidecar."""
        return self.root / "not-before"

    @property
    def lock(self) -> Path:
        """A running sidecar holds its lock; it is never unlinked."""
        return self.root / "sidecar.lock"

    @property
    def state(self) -> Path:
        """The sidecar's process and its last actions, for ``status``."""
        return self.root / "sidecar.json"

    @property
    def log(self) -> Path:
        """The sidecar's log."""
        return self.root / "sidecar.log"

    @property
    def files(self) -> tuple[Path, ...]:
        """Every single file whose name is known beforehand."""
        kept = (self.dropped, self.not_before, self.lock, self.state, self.log)
        return self.events, self.flush, *kept


class Home(NamedTuple):
    """The ``.flwr`` directory."""

    path: Path
    """Absolute; it need not exist."""

    @property
    def source(self) -> Path:
        """Flower's own file, which holds the source ID."""
        return self.path / "source"

    @property
    def telemetry(self) -> Path:
        """The directory of everything but the source ID."""
        return self.path / "telemetry"

    @property
    def config(self) -> Path:
        """The user's settings."""
        return self.telemetry / "config.toml"

    @property
    def forgotten(self) -> Path:
        """The SHA-256 of every forgotten source ID, one a line."""
        return self.telemetry / "forgotten"

    @property
    def forgetting(self) -> Path:
        """The source ID that is being forgotten, until that is done."""
        return self.telemetry / "forgetting"

    def heartbeat(self, host: str) -> Path:
        """The heartbeat of a service on ``host``."""
        return self.telemetry / f"{HEARTBEAT_PREFIX}{host}.json"

    def host(self, name: str | None = None) -> HostPaths:
        """The paths of the host with this name; without a name, of this host."""
        return HostPaths(self.telemetry, name or host_name())
