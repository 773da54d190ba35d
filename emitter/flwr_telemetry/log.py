"""Logs on behalf of the emitter: warnings, the payloads that a user asks to see, and the first notice.

The logger is Flower's own, ``flwr-telemetry``, and so is the format of its lines. No function here logs the
content of an event unless ``FLWR_TELEMETRY_LOGGING=1`` asks for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

LOGGER_NAME = "flwr-telemetry"
"""The name of Flower's own telemetry logger."""

LINE_FORMAT = "%(levelname)s %(name)s %(asctime)s | %(filename)s:%(lineno)d | %(message)s"
FIRST_CONTACT = (
    "Flower reports anonymous usage metrics. What they are: flwr-telemetry fields. See yours: "
    "flwr-telemetry inspect. Switch them off: flwr-telemetry disable, or FLWR_TELEMETRY_ENABLED=0"
)

MAX_WARNINGS = 64
_warned: set[str] = set()


def quietly(function: Callable[..., object], *arguments: object) -> None:
    """Call a function that the process may have replaced, such as a log handler; ignore its exceptions."""
    with contextlib.suppress(Exception):
        function(*arguments)


def warn(cause: str, message: str) -> None:
    """Log one warning per process and cause, for at most ``MAX_WARNINGS`` causes."""
    if cause not in _warned and len(_warned) < MAX_WARNINGS:
        _warned.add(cause)
        quietly(logging.getLogger(LOGGER_NAME).warning, "%s", message)


def logger() -> logging.Logger:
    """Flower's telemetry logger. It gets a handler to standard error if no handler would show its lines."""
    found = logging.getLogger(LOGGER_NAME)
    if not found.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(LINE_FORMAT))
        found.addHandler(handler)
    if found.level == logging.NOTSET:
        found.setLevel(logging.DEBUG)
    return found


def log_payload(payload: bytes) -> None:
    """Log the event in a record's payload, as Flower logs the events that it posts."""
    import json  # needs no guard, nor does `record`: the emitter has imported both before

    from . import record

    event = record.to_wire(record.decode(payload))
    logger().debug("%s - POST - %s", event["context"]["date"], json.dumps(event))


def first_contact(noticed: Path, may_create: Callable[[], bool]) -> None:
    """Say, once per home, that metrics are on, how to see them and how to switch them off.

    A home counts as told only where a person can see the line. The first process may be a SuperLink whose
    streams lead nowhere; then a later one says it.

    Args:
        noticed: the file that marks a home as told; its directory exists.
        may_create: consent, read again; called before the file is created.

    Raises:
        FileExistsError: another process says it.
        OSError: the home cannot be marked, so nothing is said.
    """
    if os.path.lexists(noticed):
        return
    found = logger()
    if found.isEnabledFor(logging.INFO) and any(map(_shows, _handlers(found))) and may_create():
        mark_as_noticed(noticed)
        found.info(FIRST_CONTACT)


def mark_as_noticed(noticed: Path) -> None:
    """Create the mark; raises as ``first_contact``."""
    from . import files  # needs no guard: the emitter has imported it before

    os.close(files.open_file(noticed, os.O_WRONLY | os.O_CREAT | os.O_EXCL))


def is_seen(stream: object) -> bool:
    """Whether a person may see the text in a stream: it is open, and is not the null device."""
    if stream is None or getattr(stream, "closed", False):
        return False
    try:
        descriptor = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return True  # it leads to no file: that of a notebook, for example
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return not (stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev)


def _shows(handler: logging.Handler) -> bool:
    if handler.level > logging.INFO or isinstance(handler, logging.NullHandler):
        return False
    return not isinstance(handler, logging.StreamHandler) or is_seen(handler.stream)


def _handlers(found: logging.Logger) -> Iterator[logging.Handler]:
    """The handlers that get the records of a logger."""
    above: logging.Logger | None = found
    while above is not None:
        yield from above.handlers
        above = above.parent if above.propagate else None
