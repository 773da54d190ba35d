"""Tests of Flower's telemetry, which flwr-telemetry records and sends."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from enum import Enum
from pathlib import Path
from unittest import mock
from uuid import UUID, uuid4

from flwr.supercore.telemetry import EventType, event

PROGRAM = f"""
import sys
from {EventType.__module__} import EventType, event
waits = ("socket.connect", "socket.getaddrinfo", "time.sleep")
sys.addaudithook(lambda name, args: name in waits and print(name, args, flush=True))
event(EventType.PING).exception()
"""


class NewerEventType(str, Enum):  # noqa: UP042
    """The events of a later release."""

    RUN_SOMETHING_NEW_ENTER = "RUN_SOMETHING_NEW_ENTER"


class TelemetryTest(unittest.TestCase):
    """Each test has a home of its own, and starts no other process that sends."""

    def setUp(self) -> None:
        """Report into an empty directory."""
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        self.home = Path(directory) / ".flwr"
        variables = {
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "1",
            "FLWR_TELEMETRY_LOGGING": "0",
            "FLWR_TELEMETRY_SIDECAR": "never",
        }
        self.enterContext(mock.patch.dict(os.environ, variables))

    def recorded(self) -> bytes:
        """Return all that waits to be sent."""
        segments = self.home.glob("telemetry/*/spool/*.msgpack")
        return b"".join(segment.read_bytes() for segment in segments)

    def payload(self, **variables: str) -> dict[str, object]:
        """Report an event with these variables, and return it as it is logged."""
        logged = {**variables, "FLWR_TELEMETRY_LOGGING": "1"}
        environment = mock.patch.dict(os.environ, logged)
        with environment, self.assertLogs("flwr-telemetry", "DEBUG") as logs:
            event(EventType.PING, {"number": 1})
        (line,) = [text for text in logs.output if " - POST - " in text]
        payload: dict[str, object] = json.loads(line.partition(" - POST - ")[2])
        return payload

    def test_event(self) -> None:
        """An event is on the disk as soon as the call returns."""
        future = event(EventType.PING)

        self.assertTrue(future.done())
        self.assertEqual(future.result(), "spooled")
        self.assertIn(b"PING", self.recorded())

    def test_every_event_type(self) -> None:
        """Each type is reported under its own name."""
        for event_type in EventType:
            self.assertEqual(event(event_type).result(), "spooled")
            self.assertIn(event_type.value.encode(), self.recorded())

    def test_new_event_type(self) -> None:
        """A new member needs no release of flwr-telemetry."""
        event_type = NewerEventType.RUN_SOMETHING_NEW_ENTER

        self.assertEqual(event(event_type).result(), "spooled")  # type: ignore[arg-type, unused-ignore]
        self.assertIn(event_type.value.encode(), self.recorded())

    def test_not_blocking(self) -> None:
        """The first event of a process waits neither for a network nor for time to pass."""
        output = subprocess.check_output([sys.executable, "-c", PROGRAM], text=True)

        self.assertEqual(output, "")

    def test_no_thread(self) -> None:
        """No thread is left that the end of a process would have to wait for."""
        before = threading.enumerate()

        event(EventType.PING)

        self.assertEqual(threading.enumerate(), before)

    def test_telemetry_disabled(self) -> None:
        """An opt-out leaves no file."""
        with mock.patch.dict(os.environ, FLWR_TELEMETRY_ENABLED="0"):
            future = event(EventType.PING)

        self.assertEqual(future.result(), "disabled")
        self.assertFalse(self.home.exists())

    def test_source_id(self) -> None:
        """The ID of a home is random, and stays."""
        source_id = self.payload()["context"]["source"]  # type: ignore[index]

        self.assertEqual(UUID(source_id).version, 4)
        self.assertEqual((self.home / "source").read_text(encoding="utf-8"), source_id)
        self.assertEqual(self.payload()["context"]["source"], source_id)  # type: ignore[index]

    def test_no_home(self) -> None:
        """A home that cannot be made is told by the future, and never raised."""
        file = self.home.parent / "file"
        file.touch()

        with mock.patch.dict(os.environ, FLWR_HOME=str(file / ".flwr")):
            future = event(EventType.PING)

        self.assertIsNotNone(future.exception())

    def test_partner_id(self) -> None:
        """A partner has a UUID."""
        partner_id = str(uuid4())
        cases = {partner_id: partner_id, "": "unavailable", "not a valid ID": "invalid"}
        for given, expected in cases.items():
            payload = self.payload(FLWR_TELEMETRY_PARTNER_ID=given)
            self.assertEqual(payload["context"]["partner"], expected)  # type: ignore[index]

    def test_payload(self) -> None:
        """The payload is the one that Flower has always sent."""
        payload = self.payload()

        self.assertEqual(list(payload), ["event_type", "event_details", "context"])
        self.assertEqual(payload["event_type"], "PING")
        self.assertEqual(payload["event_details"], {"number": 1})
