"""At the exit of a container's first process: asks for delivery, and waits for it for a bounded time.

The kernel ends a container with its process 1, and the sidecar too. If the home lies on the container's own
file system, it goes with the container, and so do the events that wait. In all other cases a later sidecar
delivers them, so no other exit waits for a delivery.

In: this process's variables. Out: a request for delivery, and a warning if it came too late. ``emit.py``
registers the exit handler. This module never starts a sidecar by itself, and no wait is longer than
``goodbye_s``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from . import launch, mounts, settings
from .layout import Home, home_directory

KNOWN_INITS = frozenset({"docker-init", "tini", "tini-static", "dumb-init", "catatonit", "podman-init"})
"""Programs that end as soon as their child ends; ``podman-init`` is Podman's name of catatonit."""


def wait_for_delivery(flush: Callable[[float], bool], warn: Callable[[str, str], None]) -> None:
    """Wait for the delivery of the events of this process, if its container ends with it.

    Args:
        flush: as ``emit.flush``; may raise.
        warn: as ``log.warn``.
    """
    began = time.monotonic()
    wait_s = wait_at_exit_s(os.environ) if ends_container() else 0.0
    if wait_s > 0 and not flush(wait_s - (time.monotonic() - began)):
        text = f"Events could not be delivered within {wait_s:g} s and end with this container"
        warn("goodbye", f"{text}; mount a volume for FLWR_HOME, or set goodbye_s")


def ends_container() -> bool:
    """Whether the end of this process is the end of all others in its PID namespace.

    It is process 1, or the child of an init that ends with it. A shell as process 1 may have more to do.
    """
    if os.getpid() == 1 or os.getppid() != 1:
        return os.getpid() == 1
    try:
        # The mounted proc(5) may show another namespace, and another process 1.
        is_ours = os.readlink("/proc/self") == str(os.getpid())
        return is_ours and Path("/proc/1/comm").read_text(encoding="utf-8").strip() in KNOWN_INITS
    except (OSError, ValueError):
        return False


def wait_at_exit_s(environ: Mapping[str, str]) -> float:
    """The longest wait at the exit of such a process, in seconds; 0 if nothing would be lost or delivered.

    Args:
        environ: this process's variables.

    Raises:
        HomeUnavailableError: there is no home.
    """
    home = Home(home_directory(environ))
    if mounts.is_shared(home.path):
        return 0.0  # it outlives the container, and its server might not answer
    chosen = settings.load(home, environ)
    may_wait = chosen.consent.enabled and launch.may_start(chosen, environ)
    return chosen.limits.goodbye_s if may_wait and is_ephemeral(home.host().spool) else 0.0


def is_ephemeral(path: Path) -> bool:
    """Whether a path lies on the device of ``/``, which in a container goes with it."""
    try:
        return os.stat(path).st_dev == os.stat("/").st_dev
    except OSError:
        return False
