"""Section 5, "Wire": headers, bodies, and every field of an event."""

import importlib.metadata
import json
import os
import platform
import re
import uuid

import psutil

from flwr_telemetry.version import __version__
from tests.support import flower, homes, processes, records, wire


@flower.needed
def test_every_field_of_an_event(home, collector):
    """The body has Flower's very keys and values, and in `hw` two coarse figures more."""
    processes.spool_events(home, details={"run": "abc"})
    (record,) = homes.spooled(home)
    processes.deliver(home)
    (body,) = collector.accepted.values()
    memory_gib = round(psutil.virtual_memory().total / 2**30)
    assert json.loads(body) == {
        "event_type": "PING",
        "event_details": {"run": "abc", "n": 0},
        "context": {
            "partner": "unavailable",
            "source": (home / "source").read_text().strip(),
            "cluster": str(uuid.UUID(record["context"]["cluster"])),
            "date": wire.iso(record["context"]["date"]),
            "flower": {"package_name": "flwr", "package_version": importlib.metadata.version("flwr")},
            "hw": {
                "cpu_count": os.cpu_count(),
                "cpu_count_physical": psutil.cpu_count(logical=False),
                "memory_gib": memory_gib,
            },
            "platform": {
                "system": platform.system(),
                "release": platform.release(),
                "platform": platform.platform(),
                "python_implementation": platform.python_implementation(),
                "python_version": platform.python_version(),
                "machine": platform.machine(),
                "architecture": list(platform.architecture()),
                "version": platform.uname().version,
            },
        },
    }


def test_the_body_is_compact_ascii_json(home, collector):
    """A body is json.dumps with the separators "," and ":", ASCII, without a newline.

    A date is that of datetime.isoformat(): microseconds, or none where they are zero.
    """
    homes.configure(home, collector.url, bursts=False)
    odd = {"text": 'ä€🌸 "\\ \n', "f": 1e100, "i": 2**64 - 1, "z": None, "t": True}
    homes.put(home, [records.sample(odd, date_us=1_795_000_000_000_000 + us) for us in (0, 1)])
    processes.deliver(home)
    for body in collector.accepted.values():
        assert body == json.dumps(json.loads(body), separators=(",", ":")).encode("ascii")
        assert list(map(repr, json.loads(body)["event_details"].values())) == list(map(repr, odd.values()))
    dates = sorted(event["context"]["date"] for event in collector.events())
    assert dates == ["2026-11-18T11:06:40+00:00", "2026-11-18T11:06:40.000001+00:00"]


def test_the_headers_of_a_request(home, collector):
    """POST, JSON, the body's SHA-256 as key, our name and version, and no credentials."""
    processes.spool_events(home, 2)
    processes.deliver(home)
    (request,) = collector.requests
    assert (request.method, request.path) == ("POST", "/api/v1/event")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"flwr-telemetry/{__version__}"
    assert request.headers["idempotency-key"] == wire.key_of(request.body)
    assert re.fullmatch("[0-9a-f]{64}", request.key)
    assert request.headers["content-length"] == str(len(request.body))
    assert not {"authorization", "cookie", "referer"} & set(request.headers)


def test_outbox_and_archive_hold_the_bodies_byte_for_byte(home, collector):
    """outbox/<batch>/<key>.json is what is sent under that key, and then a line of sent/<date>.jsonl."""
    homes.put(home, [*records.series(3), *records.series(2, event_type="OTHER")])
    collector.answer_by(lambda _request: 503)
    assert processes.once(home).returncode != 0
    bodies = {path.stem: path.read_bytes() for path in homes.waiting(home)}
    assert len(bodies) == 2
    assert all(key == wire.key_of(body) for key, body in bodies.items())
    collector.answer_by(lambda request: 422 if b"OTHER" in request.body else 200)
    processes.deliver(home, times=5)
    accepted = {key: body for key, body in bodies.items() if b"OTHER" not in body}
    assert collector.accepted == accepted
    archive, receipts = sorted((homes.host(home) / "sent").iterdir())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d\.jsonl", archive.name)
    assert archive.read_bytes() == b"".join(body + b"\n" for body in accepted.values())
    assert receipts.name == archive.name.replace(".jsonl", ".receipts.jsonl")
    (receipt,) = homes.receipts(home)
    assert list(receipt) == ["key", "at", "status", "to"]
    assert (receipt["key"], receipt["status"], receipt["to"]) == (*accepted, 200, collector.url)
    assert receipt["at"].startswith(archive.stem)


def test_events_of_another_host_get_no_figures_of_this_one(home, collector):
    """An adopted host's spool is delivered, without physical cores and memory in `hw`."""
    homes.configure(home, collector.url, idle_exit_s=30)
    events = records.series(3)
    segment = homes.put(home, events, host_of="elsewhere")
    for path in (segment, segment.parent, segment.parent.parent):
        homes.age(path, 3600)
    processes.emit(home, event_type="OWN")
    processes.wait_until(lambda: len(collector.events()) == 4)
    adopted = [event for event in collector.events() if event["event_type"] == "PING"]
    assert wire.bag(map(wire.plain, adopted)) == wire.bag(events)
    assert all(event["context"]["hw"] == {"cpu_count": 8} for event in adopted)
