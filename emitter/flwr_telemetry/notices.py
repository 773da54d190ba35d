"""What the emitter says in the log of the process: the payload and the first contact.

The logger is Flower's own, ``flwr-telemetry``, and so is the form of its lines. Nothing here may print
the content of an event unless ``FLWR_TELEMETRY_LOGGING=1`` asks for it.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from . import wire
from .emit import LOGGER_NAME

LINE_FORMAT = "%(levelname)s %(name)s %(asctime)s | %(filename)s:%(lineno)d | %(message)s"
FIRST_CONTACT = (
    "Flower reports anonymous usage metrics. What they are: flwr-telemetry fields. See yours: "
    "flwr-telemetry inspect. Switch them off: flwr-telemetry disable, or FLWR_TELEMETRY_ENABLED=0"
)


def logger() -> logging.Logger:
    """Flower's telemetry logger; given a handler to standard error if nothing would show its lines."""
    found = logging.getLogger(LOGGER_NAME)
    if not found.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(LINE_FORMAT))
        found.addHandler(handler)
    if found.level == logging.NOTSET:
        found.setLevel(logging.DEBUG)
    return found


def log_payload(event: dict[str, Any]) -> None:
    """Log an event of a record as Flower logs what it posts."""
    payload = wire.to_wire(event)
    logger().debug("%s - POST - %s", payload["context"]["date"], json.dumps(payload))


def first_contact() -> None:
    """Say, once per home, that metrics are on, how to see them and how to switch them off."""
    logger().info(FIRST_CONTACT)
