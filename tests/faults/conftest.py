"""Fixtures of the tests of faults: ready processes, and no way out of the machine."""

import pytest

from tests.support import homes
from tests.support.dying import Forks
from tests.support.hosts import private_mounts
from tests.support.kills import SIDECAR
from tests.support.zygote import Zygote


@pytest.fixture(autouse=True)
def _forked(forked):
    """Fork what only prepares a test, or asks after it."""


@pytest.fixture(scope="session")
def bare():
    """Give one that has nothing of ours loaded, so that each first event loads it all."""
    with Zygote(preload="") as ready:
        yield ready


@pytest.fixture(scope="session")
def apart():
    """Give one whose mounts no other process sees; skip where that is not permitted."""
    with Zygote(private_mounts()) as ready:
        yield ready


@pytest.fixture(scope="module")
def forks():
    """Give sidecars that die, or stop, where they are told to."""
    with Forks(*SIDECAR) as running:
        yield running


@pytest.fixture
def collector(home, collector):
    """Give the collector that the home's settings name."""
    homes.configure(home, collector.url)
    return collector


@pytest.fixture
def _fuse(_own_world, monkeypatch):
    """Send https to a closed port of loopback, in case a home names no collector of the test."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
