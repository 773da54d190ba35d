"""Logs on behalf of the emitter: warnings, the payloads that a user asks to see, and the first notice.

The logger is Flower's own, ``flwr-telemetry``, and so is the format of its lines. No function here logs the
content of an event unless ``FLWR_TELEMETRY_LOGGING=1`` asks for it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from types import ModuleType

from .imports import undisturbed

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
    """Log the event in a record's payload, as Flower logs the events that it posts.

    The hardware facts of this machine are in it, because the sidecar will add them.
    """
    import json  # needs no guard, nor does `record`: the emitter has imported both before

    from . import record

    event = record.to_wire(record.decode(payload))
    event["context"] = _hardware().add_facts(event["context"], _facts())
    logger().debug("%s - POST - %s", event["context"]["date"], json.dumps(event))


@undisturbed
def _hardware() -> ModuleType:
    from . import hardware

    return hardware


@functools.cache
def _facts() -> dict[str, int]:
    facts: dict[str, int] = _hardware().hardware_facts()
    return facts


def first_contact() -> None:
    """Say, once per home, that metrics are on, how to see them and how to switch them off."""
    logger().info(FIRST_CONTACT)
