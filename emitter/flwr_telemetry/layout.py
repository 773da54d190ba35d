"""Every path of the spool, as frozen values.

``Home`` is the ``.flwr`` directory, ``HostPaths`` the part that belongs to one host. Building either
touches no disk, and nothing else in the project spells a file name of design section 2.
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
"""Of the name of a batch whose events come from other hosts of the home."""

_MAX_HOST_LENGTH = 64
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def home_directory(environ: Mapping[str, str]) -> Path:
    """The ``.flwr`` directory: ``FLWR_HOME``, else ``~/.flwr``, made absolute.

    Raises:
        HomeUnavailableError: if the home directory cannot be told.
    """
    if configured := environ.get("FLWR_HOME"):
        return Path(os.path.abspath(configured))
    home = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(home):
        msg = "no home directory is known; set HOME or FLWR_HOME"
        raise HomeUnavailableError(msg)
    return Path(home) / ".flwr"


def host_name() -> str:
    """This host's directory name: the node name, made safe for a file name, at most 64 characters."""
    node = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    safe = (letter if letter in _SAFE else "_" for letter in node[:_MAX_HOST_LENGTH])
    return "".join(safe) or "_"


def is_heartbeat(name: str) -> bool:
    """Whether a file of this name in ``telemetry/`` is the heartbeat of a service."""
    return name.startswith(HEARTBEAT_PREFIX) and name.endswith(".json")


class HostPaths(NamedTuple):
    """The paths of one host below one home.

    Attributes:
        telemetry: the directory ``telemetry/`` of the home.
        name: the host's directory name, as ``host_name`` makes it.
    """

    telemetry: Path
    name: str

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
        """Touched to ask for delivery now."""
        return self.spool / "flush"

    @property
    def work(self) -> Path:
        """Batches in the making."""
        return self.root / "work"

    @property
    def outbox(self) -> Path:
        """Committed batches."""
        return self.root / "outbox"

    @property
    def sent(self) -> Path:
        """The archive of what was accepted."""
        return self.root / "sent"

    @property
    def rejected(self) -> Path:
        """What the collector refused."""
        return self.root / "rejected"

    @property
    def damaged(self) -> Path:
        """Bytes that were no record."""
        return self.root / "damaged"

    @property
    def rooms(self) -> tuple[Path, ...]:
        """Every directory in ``root``."""
        return self.spool, self.work, self.outbox, self.sent, self.rejected, self.damaged

    @property
    def dropped(self) -> Path:
        """One byte for every event that a cap dropped."""
        return self.root / "dropped"

    @property
    def not_before(self) -> Path:
        """A ``Retry-After`` that outlives the sidecar."""
        return self.root / "not-before"

    @property
    def lock(self) -> Path:
        """Held for the sidecar's whole life; never unlinked."""
        return self.root / "sidecar.lock"

    @property
    def state(self) -> Path:
        """Who runs and what it did last, for ``status``."""
        return self.root / "sidecar.json"

    @property
    def log(self) -> Path:
        """The sidecar's log."""
        return self.root / "sidecar.log"

    @property
    def files(self) -> tuple[Path, ...]:
        """Every single file, as far as its name is known beforehand."""
        kept = (self.dropped, self.not_before, self.lock, self.state, self.log)
        return self.events, self.flush, *kept


class Home(NamedTuple):
    """The ``.flwr`` directory.

    Attributes:
        path: absolute; it need not exist.
    """

    path: Path

    @property
    def source(self) -> Path:
        """The source ID, Flower's own file."""
        return self.path / "source"

    @property
    def telemetry(self) -> Path:
        """Everything that is ours."""
        return self.path / "telemetry"

    @property
    def config(self) -> Path:
        """The user's settings."""
        return self.telemetry / "config.toml"

    @property
    def forgotten(self) -> Path:
        """SHA-256 of every source ID that the user had forgotten, one a line."""
        return self.telemetry / "forgotten"

    @property
    def forgetting(self) -> Path:
        """The source ID that is being forgotten, as long as that is not done."""
        return self.telemetry / "forgetting"

    def heartbeat(self, host: str) -> Path:
        """The heartbeat of a service on ``host``."""
        return self.telemetry / f"{HEARTBEAT_PREFIX}{host}.json"

    def host(self, name: str | None = None) -> HostPaths:
        """The paths of the host called ``name``; without one, of this host."""
        return HostPaths(self.telemetry, name or host_name())
