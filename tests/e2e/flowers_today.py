"""The checks of the tests that Flower has today of its telemetry module, written anew from its behaviour.

``python -m unittest`` runs them against the installed Flower, unmodified or under ``flwr-telemetry run``.
They do not use our packages. One case needs an answer of a backend.
"""

import importlib
import os
import unittest
import uuid
from importlib import metadata
from unittest import mock

RELEASE = tuple(int(part) for part in metadata.version("flwr").split("."))
HOME = "flwr.supercore" if RELEASE >= (1, 32) else "flwr.common"
telemetry = importlib.import_module(f"{HOME}.telemetry")

ANSWER = '{"status":"created"}'
OFF = "disabled"


class Telemetry(unittest.TestCase):
    """The module's functions, as the rest of Flower and its tests use them."""

    @mock.patch.object(telemetry, "FLWR_TELEMETRY_ENABLED", "1")
    def test_the_backend_answers(self):
        self.assertEqual(telemetry.event(telemetry.EventType.PING).result(timeout=60), ANSWER)

    def test_a_result_comes_for_every_event(self):
        futures = [telemetry.event(telemetry.EventType.PING, {"n": n}) for n in range(50)]
        self.assertEqual({type(future.result(timeout=60)) for future in futures}, {str})

    def test_it_is_called_by_names_and_without(self):
        ping = telemetry.EventType.PING
        for future in (telemetry.event(event_type=ping), telemetry.event(ping, event_details={"a": [1]})):
            self.assertIsInstance(future.result(timeout=60), str)

    @mock.patch.object(telemetry, "FLWR_TELEMETRY_ENABLED", "0")
    def test_the_opt_out(self):
        self.assertEqual(telemetry.event(telemetry.EventType.PING).result(timeout=60), OFF)
        self.assertEqual(telemetry.create_event(telemetry.EventType.PING, None), OFF)

    def test_flower_passes_it_on(self):
        from flwr import common

        self.assertIs(common.event, telemetry.event)
        self.assertIs(common.EventType, telemetry.EventType)

    def test_a_member_is_its_own_name(self):
        for member in telemetry.EventType:
            self.assertEqual((member, member.value), (member.name, member.name))

    def test_the_source_is_an_id(self):
        source = telemetry._get_source_id()
        self.assertEqual(str(uuid.UUID(source)), source)
        self.assertEqual(telemetry._get_source_id(), source)

    @unittest.skipIf(RELEASE < (1, 10), "this release knows no partners")
    def test_the_partner(self):
        given = str(uuid.uuid4())
        for value, partner in ((given, given), ("", "unavailable"), ("a company", "invalid")):
            with mock.patch.dict(os.environ, FLWR_TELEMETRY_PARTNER_ID=value):
                self.assertEqual(telemetry._get_partner_id(), partner)

    def test_a_create_event_in_its_place_is_called(self):
        with mock.patch.object(telemetry, "create_event", return_value="mine") as create_event:
            self.assertEqual(telemetry.event(telemetry.EventType.PING, {"n": 1}).result(timeout=60), "mine")
        create_event.assert_called_once_with(telemetry.EventType.PING, {"n": 1})
