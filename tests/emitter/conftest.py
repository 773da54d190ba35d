"""Fixtures that the tests of the emitter share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.spool import Writer
from tests.support import faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Told:
    """A writer, and what it asked and told."""

    def __init__(self, home: Path) -> None:
        self.may = True
        self.asked = self.contacts = 0
        self.writer = Writer(Home(home), Home(home).host(), self._may_create, self._contact)

    def _may_create(self) -> bool:
        self.asked += 1
        return self.may

    def _contact(self) -> None:
        self.contacts += 1

    def append(self, frame: bytes, cap_bytes: float = 1e9) -> None:
        self.writer.append(frame, cap_bytes)


@pytest.fixture
def told(home: Path) -> Iterator[Told]:
    """Give a writer, and make sure that it leaves no descriptor."""
    before = faults.descriptors()
    told = Told(home)
    yield told
    told.writer.close()
    assert faults.descriptors() == before


@pytest.fixture
def another(home: Path) -> Iterator[Told]:
    """Give a second writer of the same spool."""
    another = Told(home)
    yield another
    another.writer.close()


@pytest.fixture
def host(home: Path) -> HostPaths:
    """Give this host's paths; nothing of them exists."""
    return Home(home).host()
