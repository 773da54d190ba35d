"""One frozen value with everything that the parts of a sidecar share.

It decides nothing. This module imports only ``clock``, ``state`` and the emitter.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from flwr_telemetry import files
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.named import NamedTuple, ParamSpec, Protocol, TypeVar
from flwr_telemetry.presence import SERVICE_MODE
from flwr_telemetry.settings import Settings
from flwr_telemetry.settings_file import Limits

from .clock import Clock
from .state import State

P = ParamSpec("P")
T = TypeVar("T")


class Mode(enum.Enum):
    """How long a sidecar runs."""

    ON_DEMAND = "on demand"
    SERVICE = SERVICE_MODE
    ONCE = "once"


class Faults(Protocol):
    """Runs the steps that may fail on this machine; see ``LocalFaults``."""

    def run(self, name: str, step: Callable[P, T], default: T, *args: P.args, **options: P.kwargs) -> T:
        """Run a step; ``default`` if it fails, or failed too recently."""

    def since(self) -> float:
        """Monotonic seconds of the oldest fault that lasts; infinite without a fault."""


class Runtime(NamedTuple):
    """The argument of every part of a sidecar."""

    home: Home
    host: HostPaths
    """This host, whose sidecar is this process."""
    mode: Mode
    clock: Clock
    state: State
    faults: Faults
    checkpoint: Callable[[], bool]
    """Called before every request and every write; False if telemetry is off. It also acts: it reads changed
    settings, deletes unsent events after an opt-out, and feeds the watchdog and the heartbeat."""
    settings: Callable[[], Settings]
    """The settings as the last checkpoint read them."""
    owner: str
    """Identifies this run in the names of its unfinished batches."""
    is_shared: bool
    """Whether other machines may use the home, too."""

    @property
    def limits(self) -> Limits:
        """The limits in the settings, as they are now."""
        return self.settings().limits

    def file_system_now(self) -> float:
        """The file system's time, in seconds since the epoch."""
        return files.now(self.host.state)
