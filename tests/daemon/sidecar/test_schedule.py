"""The decisions of a sidecar."""

import math

import pytest

from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.schedule import (
    SEAL_SIZE_BYTES,
    ExitReason,
    age_of_oldest_s,
    on_demand_wait,
    reason_to_end,
    seal_is_due,
    service_wait,
)

CALM = {"waits": False, "blocked_s": 0.0, "quiet_s": 1e6, "others_wait": False}


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({}, (30, 600)),
        ({"others_wait": True, "quiet_s": 599.0}, (7.5, 7.5)),
        ({"others_wait": True, "quiet_s": 600.0}, (30, 600)),  # no sidecar can adopt it
        ({"waits": True, "quiet_s": 0.0}, (0.25, 0)),
        ({"waits": True, "quiet_s": 5.5, "others_wait": True}, (0.25, 0)),
        ({"waits": True, "quiet_s": 7.0}, (30, 30)),
        ({"waits": True, "quiet_s": 0.0, "blocked_s": 86_400.0}, (30, 86_400)),
    ],
)
def test_the_sleep_of_a_service(found, chosen):
    assert service_wait(Limits(), **{**CALM, **found}) == chosen


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({}, (0.25, 60)),
        ({"ends_in_s": 1e6}, (0.25, 600)),
        ({"others_wait": True}, (0.25, 30)),
        ({"ends_in_s": 3.0}, (0.25, 3)),
        ({"ends_in_s": -1.0}, (0.25, 0)),
        ({"waits": True}, (0.25, 0)),
        ({"waits": True, "blocked_s": 2.0}, (0.25, 2)),
        ({"waits": True, "blocked_s": 900.0}, (0.25, 30)),
        ({"waits": True, "blocked_s": 900.0, "ends_in_s": 1.0}, (0.25, 1)),
        ({"blocked_s": 900.0, "ends_in_s": 4.0}, (0.25, 4)),
    ],
)
def test_the_sleep_of_a_sidecar_on_demand(found, chosen):
    usual = {"waits": False, "blocked_s": 0.0, "ends_in_s": 60.0, "others_wait": False}
    assert on_demand_wait(Limits(), **{**usual, **found}) == chosen


@pytest.mark.parametrize(
    ("size_bytes", "age_s", "may_batch", "immediately", "is_due"),
    [
        (0, 1e6, True, True, False),
        (1, 4.9, True, False, False),
        (1, 5.0, True, False, True),
        (1, 0.0, True, True, True),
        (1, 1e6, False, True, False),
        (SEAL_SIZE_BYTES, 0.0, False, False, True),
    ],
)
def test_when_a_segment_is_sealed(size_bytes, age_s, may_batch, immediately, is_due):
    assert seal_is_due(size_bytes, age_s, 5.0, may_batch=may_batch, immediately=immediately) is is_due


@pytest.mark.parametrize(
    ("by_date_s", "seen_s", "unseen_s", "age_s"),
    [
        (3.0, 0.0, math.inf, 3.0),
        (0.0, 4.0, math.inf, 4.0),  # the clock was set back, or stands still
        (-0.1, 0.0, math.inf, math.inf),
        (math.inf, 0.0, math.inf, math.inf),
        (1e9, 1.0, 1.25, 1.25),  # the clock was set forward, or a process has another one
        (-1e9, 1.0, 1.25, 1.25),
    ],
)
def test_the_age_of_the_oldest_event(by_date_s, seen_s, unseen_s, age_s):
    assert age_of_oldest_s(by_date_s, seen_s=seen_s, unseen_s=unseen_s) == age_s


IDLE = {"waits": False, "quiet_s": 0.0, "failing_s": -math.inf, "may_try": True, "stuck": False}


@pytest.mark.parametrize(
    ("mode", "found", "reason"),
    [
        (Mode.SERVICE, {"quiet_s": 1e9, "failing_s": 1e9}, None),
        (Mode.ONCE, {}, ExitReason.DRAINED),
        (Mode.ONCE, {"waits": True}, None),
        (Mode.ONCE, {"waits": True, "stuck": True}, ExitReason.UNDELIVERED),
        (Mode.ONCE, {"waits": True, "may_try": False}, ExitReason.UNDELIVERED),
        (Mode.ONCE, {"failing_s": 0.0}, ExitReason.UNDELIVERED),
        (Mode.ON_DEMAND, {"quiet_s": 59.0}, None),
        (Mode.ON_DEMAND, {"quiet_s": 60.0}, ExitReason.IDLE),
        (Mode.ON_DEMAND, {"quiet_s": 1e9, "waits": True}, None),
        (Mode.ON_DEMAND, {"failing_s": 99.0, "waits": True}, None),
        (Mode.ON_DEMAND, {"failing_s": 100.0, "waits": True}, ExitReason.OFFLINE),
    ],
)
def test_the_reason_to_end(mode, found, reason):
    limits = Limits(idle_exit_s=60, offline_exit_s=100)
    assert reason_to_end(mode, limits, **{**IDLE, **found}) is reason
