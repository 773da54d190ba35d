"""The JSON Schema of a request body, made from the record of fields (``context.FIELDS``).

``python -m tests.support.readme`` writes it to ``SCHEMA``, which is in the wheel.
"""

import json
from pathlib import Path

import flwr_telemetry
from flwr_telemetry.context import FIELDS
from flwr_telemetry.identity import UNKNOWN

SCHEMA = Path(flwr_telemetry.__file__).with_name("wire.schema.json")

_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_UUID = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
_NARROWER = {
    "event_type": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]{0,63}$"},
    "context.cluster": _UUID,
    "context.date": {"type": "string", "format": "date-time"},
    "context.hw.cpu_count": {"anyOf": [_COUNT, {"const": UNKNOWN}]},
    "context.platform.architecture": {"anyOf": [_TEXTS, {"const": UNKNOWN}]},
    "burst.count": {"type": "integer", "minimum": 2},
    "burst.clusters": {"type": "array", "items": _UUID, "minItems": 1},
    "burst.varying": _TEXTS,
    "burst.events": {
        "type": "array",
        "minItems": 2,
        "items": {"type": "array", "minItems": 2, "prefixItems": [_COUNT, _COUNT]},
    },
}
"""What is known of a field beyond its JSON type."""

_NOT_ALWAYS = {"burst", "context.partner", "context.hw.cpu_count_physical", "context.hw.memory_gib"}
# A home reports a field of a later release only after it told a person of it.
_NOT_ALWAYS |= {field.name for field in FIELDS if field.since != FIELDS[0].since}
_EITHER = ("context.flower", "context.package")
"""The package that reported the event: flwr, or flwr-datasets."""


def made():
    """Give the schema."""
    root = _object()
    for field in FIELDS:
        node, path = root, field.name.split(".")
        for depth, name in enumerate(path[:-1], 1):
            node = _put(node, name, ".".join(path[:depth]), _object())
        kind = {"integer": _COUNT}.get(field.kind, {"type": field.kind})
        kind = _NARROWER.get(field.name, kind)
        _put(node, path[-1], field.name, {"description": field.why, **kind})
    root["properties"]["context"]["oneOf"] = [{"required": [name.split(".")[1]]} for name in _EITHER]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A request body of flwr-telemetry",
        "description": "One event of Flower's telemetry or, with `burst`, several.",
        **root,
    }


def _object():
    return {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def _put(node, name, path, schema):
    if name not in node["properties"] and path not in {*_NOT_ALWAYS, *_EITHER}:
        node["required"].append(name)
    return node["properties"].setdefault(name, schema)


def text():
    """Give the schema as it is in the file."""
    return json.dumps(made(), indent=2) + "\n"
