"""A fuse for black-box tests: whatever would leave this machine meets a closed door on loopback."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _fuse(_own_world: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send https, which no test here serves, to a port where nobody listens."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
