"""Fixtures of black-box tests: the home's settings name the collector, and no request leaves this machine."""

import pytest

from tests.support import homes


@pytest.fixture(autouse=True)
def _fuse(_own_world, monkeypatch):
    """Send https, which no test here serves, to a closed port."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def _forked(forked):
    """Fork what only prepares a test, or asks after it."""


@pytest.fixture
def collector(home, collector):
    """Give the collector that the home's settings name."""
    homes.configure(home, collector.url)
    return collector
