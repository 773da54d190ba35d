"""Logs on behalf of the emitter: warnings, the payloads that a user asks to see, and the first notice.

The logger is Flower's own, ``flwr-telemetry``, and so is the format of its lines. No function here logs the
content of an event unless ``FLWR_TELEMETRY_LOGGING=1`` asks for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType, ModuleType

from . import system
from .errors import reraise_from_handler
from .imports import undisturbed
from .named import Any

LOGGER_NAME = "flwr-telemetry"
"""The name of Flower's own telemetry logger."""

LINE_FORMAT = "%(levelname)s %(name)s %(asctime)s | %(filename)s:%(lineno)d | %(message)s"
FIRST_CONTACT = (
    "Flower reports anonymous usage metrics. What they are: flwr-telemetry fields. See yours: "
    "flwr-telemetry inspect. Switch them off: flwr-telemetry disable, or FLWR_TELEMETRY_ENABLED=0"
)

KEPT_CONTACT = (
    "Flower collects anonymous usage metrics here, and sends none of them: {}. What they are: flwr-telemetry "
    "fields. See yours: flwr-telemetry inspect. Switch them off: flwr-telemetry disable"
)

NEW_CONTACT = (
    "Flower's anonymous usage metrics have new fields: {}. Why: flwr-telemetry fields --new. Switch the "
    "metrics off: flwr-telemetry disable, or FLWR_TELEMETRY_ENABLED=0"
)

MAX_WARNINGS = 64
_warned: set[str] = set()
_facts: dict[str, int] = {}
_telling: set[int] = set()
"""The threads that are logging now."""


def quietly(function: Callable[..., Any], *arguments: object) -> Any:
    """The result of a function; None if it raises. An exception of a signal handler reaches the program."""
    try:
        return function(*arguments)
    except Exception:  # noqa: BLE001 - the program may have replaced the function
        reraise_from_handler()
    return None


def warn(cause: str, message: str) -> None:
    """Log one warning per process and cause, for at most ``MAX_WARNINGS`` causes."""
    if cause not in _warned and len(_warned) < MAX_WARNINGS and threading.get_ident() not in _telling:
        _warned.add(cause)
        quietly(_tell, logging.WARNING, logging.lastResort, "%s", message)


def log_payload(payload: bytes, has_hardware: bool) -> None:
    """Log the event in a record's payload, as Flower logs the events that it posts.

    With ``has_hardware``, the hardware facts of this machine are in it, because the sidecar will add them. A
    log handler may report an event, too, even in a thread of its own. Its payload is not logged, or one event
    would become hundreds.
    """
    if threading.get_ident() in _telling or _is_in_handler():
        return
    json, record = _for_payloads()
    event = record.to_wire(record.decode(payload))
    with contextlib.suppress(Exception):  # a handler may have interrupted an import that this needs
        if has_hardware:
            if not _facts:
                _facts.update(_hardware().hardware_facts())
            event["context"] = _hardware().add_facts(event["context"], _facts)
    _tell_all(logging.DEBUG, "%s - POST - %s", event["context"]["date"], json.dumps(event))


def _is_in_handler() -> bool:
    """Whether a log handler or a filter of this thread's callers reports the event."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - as `logging` does to find its caller
    while frame is not None:
        if frame.f_globals.get("__name__") == logging.__name__:
            return True
        frame = frame.f_back
    return False


@undisturbed
def _for_payloads() -> tuple[ModuleType, ModuleType]:
    import json

    from . import record

    return json, record


@undisturbed
def _hardware() -> ModuleType:
    from . import hardware

    return hardware


def first_contact(
    noticed: Path,
    may_create: Callable[[], bool],
    kept_by: str,
    notice: Callable[[], bytes],
    untold: Sequence[str],
) -> bool:
    """Log, once per home, that metrics are on, how to see them, how to switch them off, and which are new.

    The line is logged only where a person can see it. If the first process is a SuperLink whose streams lead
    nowhere, a later process logs it.

    Args:
        noticed: the file that says that the line was logged; its directory exists.
        may_create: consent, read again; called before the file is created.
        kept_by: why no event is sent; empty if they are sent.
        notice: returns the text of that file; called only if it is written.
        untold: the names of the fields that no notice of this home has named yet.

    Returns:
        Whether this call has logged it.

    Raises:
        FileExistsError: another process logs it.
        OSError: the file cannot be written, so nothing is logged.
    """
    is_known = os.path.lexists(noticed)
    if is_known and not untold:
        return False
    logger = _logger()
    handlers = [*_open_handlers(logger)] or [_standard_error]
    if logger.isEnabledFor(logging.INFO) and any(map(_shows, handlers)) and may_create():
        mark_as_noticed(noticed, notice(), is_new=not is_known)
        line = NEW_CONTACT.format(", ".join(untold)) if is_known else contact_line(kept_by)
        _tell_all(logging.INFO, "%s", line)
        return True
    return False


def contact_line(kept_by: str) -> str:
    """The line of first contact; ``kept_by`` is the reason why no event is sent, or empty."""
    return KEPT_CONTACT.format(kept_by) if kept_by else FIRST_CONTACT


def mark_as_noticed(noticed: Path, notice: bytes, *, is_new: bool) -> None:
    """Create the mark, or replace it; raises as ``first_contact``."""
    from . import files  # needs no guard: the emitter has imported it before

    if not is_new:
        files.replace_bytes(noticed, notice)
        return
    with files.opened(noticed, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        files.write_all(descriptor, notice)


def is_seen(stream: object) -> bool:
    """Whether a person may see the text in a stream: it is open, and is not the null device."""
    if stream is None or getattr(stream, "closed", False) is True:
        return False
    try:
        descriptor = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return True  # it leads to no file: that of a notebook, for example
    try:
        return not system.is_null(descriptor)
    except OSError:
        return False


def _shows(handler: logging.Handler) -> bool:
    """Whether a handler may show the line of first contact to a person."""
    if handler.level > logging.INFO or isinstance(handler, logging.NullHandler):
        return False
    stream = sys.stderr if handler is _standard_error else getattr(handler, "stream", None)
    if stream is None:  # a handler of another kind, or one that opens its file for the first line
        return type(handler) not in {logging.StreamHandler, _StandardError}
    return is_seen(stream)


class _StandardError(logging.Handler):
    """Writes to the ``sys.stderr`` of the moment.

    A stream that was remembered may be closed by now: that of a test, of a notebook's cell, of a redirect.
    """

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")
        sys.stderr.flush()


_standard_error = _StandardError()
_standard_error.setFormatter(logging.Formatter(LINE_FORMAT))


def _tell_all(level: int, message: str, *arguments: object) -> None:
    """Log a line that has to be seen: on standard error if no handler would show it."""
    _logger()
    _tell(level, _standard_error, message, *arguments)


def _logger() -> logging.Logger:
    """Flower's telemetry logger, with a level."""
    logger = logging.getLogger(LOGGER_NAME)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.DEBUG)
    return logger


def _tell(level: int, last: logging.Handler | None, message: str, *arguments: object) -> None:
    """Log a line; ``last`` handles it if no other handler can.

    The handlers are called here, because ``logging`` would print a traceback for one whose stream is closed.
    """
    logger, thread = logging.getLogger(LOGGER_NAME), threading.get_ident()
    if not logger.isEnabledFor(level):
        return
    is_outer = thread not in _telling
    try:
        _telling.add(thread)
        path, line, function, stack = logger.findCaller()
        record = logger.makeRecord(
            LOGGER_NAME, level, path, line, message, arguments, None, function, sinfo=stack
        )
        if logger.filter(record):
            for handler in [*_open_handlers(logger)] or filter(None, [last]):
                if level >= handler.level:
                    handler.handle(record)
    finally:
        if is_outer:
            _telling.discard(thread)


def _open_handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            if getattr(getattr(handler, "stream", None), "closed", False) is not True:
                yield handler
        at = at.parent if at.propagate else None
