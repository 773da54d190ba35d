"""An example from this machine for each field that can leave it.

The values come from the code that makes real events: ``identity.py``, the coalescer, and the hardware facts.
Only event type, details and cluster IDs are made up. This module never writes or sends anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flwr_telemetry import EventType, hardware, identity, redaction, settings, source
from flwr_telemetry.context import FIELDS, Field
from flwr_telemetry.layout import Home

from ..burst.codec import Coalescer
from ..clock import Clock

NOT_INSTALLED = (identity.UNKNOWN, identity.UNKNOWN)

_LATER_US = 1_500


def examples(home: Home, environ: Mapping[str, str], clock: Clock) -> list[tuple[Field, Any]]:
    """Every declared field, with an example; None if this machine would not report the field."""
    bodies = [
        _body(home, environ, clock, package, version)
        for package in identity.PACKAGES
        if (version := identity.package_version(package)) != NOT_INSTALLED or package == "flwr"
    ]
    return [(field, _first(bodies, field.name.split("."))) for field in FIELDS]


def _first(bodies: list[dict[str, Any]], path: list[str]) -> Any:
    """The value at a path in the first body that has one."""
    for body in bodies:
        value: Any = body
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def _body(
    home: Home, environ: Mapping[str, str], clock: Clock, package: str, version: tuple[str, str]
) -> dict[str, Any]:
    """A burst of two workloads of the same user, one of which fails."""
    coalescer = Coalescer(hardware=hardware.known_facts(settings.load(home, environ)))
    static = redaction.identity_redactor().redact(identity.static_context(package, version))
    partner = {"partner": identity.partner_id(environ.get("FLWR_TELEMETRY_PARTNER_ID"))}
    date_us = clock.time_ns() // 1000
    bodies: list[bytes] = []
    for number in range(2):
        ids = {
            **(partner if identity.PACKAGES[package].has_partner else {}),
            "source": source.read(home.source) or source.UNAVAILABLE,
            "cluster": source.new_id(),
        }
        event = {
            "event_type": EventType.RUN_SUPERLINK_LEAVE.value,
            "event_details": {"exit_code": number},
            "context": {**ids, "date": date_us + number * _LATER_US, **static},
        }
        bodies += coalescer.add(event)
    bodies += coalescer.finish()
    burst: dict[str, Any] = json.loads(bodies[0])
    return burst
