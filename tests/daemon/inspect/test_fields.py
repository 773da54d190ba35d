"""What `fields` shows is what this machine would report, made by the code that makes what is sent."""

import json
import os
import uuid

from flwr_telemetry import identity
from flwr_telemetry.context import FIELDS
from flwr_telemetry.layout import Home
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.inspect.fields import examples
from tests.support import homes, processes


def shown(home, environ=None):
    return {field.name: example for field, example in examples(Home(home), environ or {}, Clock())}


def test_they_are_those_of_a_real_event(home, collector):
    homes.configure(home, collector.url)
    processes.spool_events(home)
    processes.deliver(home)
    ((body),) = collector.accepted.values()
    told = shown(home)
    for field in FIELDS:
        value = json.loads(body)
        for name in field.name.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if field.name.startswith(("burst.", "event_")) or field.name in {"context.cluster", "context.date"}:
            assert told[field.name] is not None
        else:
            assert told[field.name] == value, field.name


def test_the_ids_and_packages_are_those_of_this_home_and_process(home, monkeypatch):
    """A package that is not installed reports nothing, but Flower itself, whose version is unknown then."""
    partner = str(uuid.uuid4())
    told = shown(home, {"FLWR_TELEMETRY_PARTNER_ID": partner})
    assert (told["context.partner"], told["context.source"]) == (partner, "unavailable")
    assert os.listdir(home.parent) == []
    monkeypatch.setattr(identity, "package_version", lambda *_: ("unknown", "unknown"))
    told = shown(home)
    assert told["context.package.package_name"] is None
    assert told["context.flower.package_version"] == "unknown"
    monkeypatch.setattr(identity, "package_version", lambda package, *_: (package, "1"))
    assert shown(home)["context.package.package_name"] == "flwr-datasets"
