"""A fuse for black-box tests: whatever would leave this machine meets a closed door on loopback."""

import pytest


@pytest.fixture(autouse=True)
def _fuse(_own_world, monkeypatch):
    """Send https, which no test here serves, to a closed port."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
