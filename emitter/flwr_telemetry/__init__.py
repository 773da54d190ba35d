"""flwr-telemetry's emitter: records the events of a process in the spool on this machine's disk.

In comes an event: a type and details, from ``event()`` or from an adopted Flower. Out goes one record,
appended to the open segment, or written as a whole segment if other machines use the home, too. A sidecar
(package ``flwr_telemetryd``) delivers it; the emitter starts one if none runs.

On the disk it creates ``$FLWR_HOME/source``, Flower's own file with the source ID. In
``$FLWR_HOME/telemetry`` it creates ``noticed``, and in ``<host>/`` below that ``spool/``, ``dropped``,
``sidecar.lock`` and ``start-errors.log``. On a shared home it also creates ``machine``, and for a moment
``sidecar.starting``. Everything else there is the sidecar's.

It never uses the network by itself and never raises into its caller. It waits only for locks or a file
server, and only for milliseconds. Two kinds of exit wait longer: that of a container's first process
(``goodbye.py``), and that of a process whose file server is away (``shared_home.py``). It leaves no child
process, and no thread but one that waits for such a server. If telemetry is off, it creates nothing.

Importing this package imports no third-party module. The public names are imported when they are first used,
so that a process which never emits does not pay for them.

The modules, by subject; ``emitter.py`` shows the steps of an event:

    the public API         emit.py, event_types.py, errors.py, datasets.py
    settings and opt-out   settings.py, settings_file.py, switch.py, home_cache.py
    the fields of events   context.py, identity.py, installed.py, hardware.py, source.py, dates.py
    an event in bytes      emitter.py, details.py, redaction.py, spellings.py, packing.py, record.py
    the spool              spool/, layout.py, files.py, locks.py, pending.py
    a shared home          mounts.py, machine.py, shared_home.py, helper_thread.py, worker.py, turn.py
    the start of a sidecar launch.py, presence.py, reaper.py, spawn.py, package_files.py, detached.py,
                           bootstrap.py, start_errors.py
    the exit               goodbye.py
    an unchanged Flower    flower/
    the operating system   system.py, windows/
    other                  imports.py, log.py, named.py, version.py
"""

from __future__ import annotations

TYPE_CHECKING = False  # mypy knows this name; importing `typing` for it would cost too much here
if TYPE_CHECKING:
    from .emit import event, flush
    from .event_types import EventType

__all__ = ["EventType", "event", "flush"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "EventType":
        from . import event_types as module
    else:
        from . import emit as module  # type: ignore[no-redef]
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
