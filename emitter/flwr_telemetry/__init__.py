"""flwr-telemetry's emitter: records the events of a process in the spool on this machine's disk.

In comes an event: a type and details, from ``event()`` or from an adopted Flower. Out goes one record,
appended to the open segment. A sidecar (package ``flwr_telemetryd``) delivers it; the emitter starts one if
none runs.

On the disk it creates ``$FLWR_HOME/source`` (Flower's own file, the source ID) and, in
``$FLWR_HOME/telemetry/<host>/``, ``spool/events.msgpack``, ``spool/flush``, ``dropped`` and ``sidecar.lock``.
Everything else there is the sidecar's.

It never uses the network and never raises into its caller. It waits for locks only, and for milliseconds. It
leaves no thread and no child process. If telemetry is off, it creates nothing.

Importing this package imports no third-party module. The public names are imported when they are first used,
so that a process which never emits does not pay for them.

    emit           event() and flush(), which catch every exception
    emitter        the steps of an event, and the state of a process
    imports        guards the imports of the first event against signals and forks
    context        the declaration and the values of all collected fields
    details        checks, redacts and packs a caller's details
    event_types    the names of Flower's events
    record         the record format and the wire format
    spool          appends to the open segment
    source         the source ID
    settings       consent and settings, from the environment and the files
    settings_file  one settings file
    switch         the words that mean yes
    launch         starts a sidecar
    waiting        tells whether everything is delivered, for flush()
    log            warnings, payloads and the first notice
    flower         adopts an unchanged Flower (finder, ``functions``, ``site``)
    files, layout, errors, version, scan    the ground, for both packages
    network, reaping    file servers; sidecars that ended as zombies
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
