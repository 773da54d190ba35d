"""Fixtures that the tests of the emitter share."""

import fcntl
import os

import pytest

from flwr_telemetry import files
from flwr_telemetry.layout import Home
from flwr_telemetry.spool.posix import Writer
from tests.support import faults, homes
from tests.support.told import ToldWriter


@pytest.fixture
def host(home):
    return Home(home).host()


@pytest.fixture
def told(host):
    before = faults.descriptors()
    told = ToldWriter(Writer, host)
    yield told
    told.writer.close()
    assert faults.descriptors() == before


NOW_S = 1_800_000_000


@pytest.fixture
def paths(home, host):
    """Give a host with one event in its spool, appended at NOW_S."""
    files.append_bytes(homes.put(home, []), b"x")
    os.utime(host.events, (NOW_S, NOW_S))
    return host


def beat(home, at_s, name="service-other.json"):
    path = homes.telemetry(home) / name
    path.touch()
    os.utime(path, (at_s, at_s))


def is_free(path):
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def numbers(home):
    return [event["event_details"]["n"] for event in homes.spooled(home)]


def close_below(path):
    """Close what this process has open there."""
    for name in faults.descriptors():
        if os.path.realpath(f"/proc/self/fd/{name}").startswith(str(path)):
            os.close(int(name))
