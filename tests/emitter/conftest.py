"""Fixtures that the tests of the emitter share."""

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetry.spool import Writer
from tests.support import faults


class Told:
    """A writer, with counters of its calls for consent and for the first contact."""

    def __init__(self, home):
        self.may = True
        self.asked = self.contacts = 0
        self.writer = Writer(Home(home), Home(home).host(), self._may_create, self._contact)

    def _may_create(self):
        self.asked += 1
        return self.may

    def _contact(self):
        self.contacts += 1

    def append(self, frame, cap_bytes=1e9):
        self.writer.append(frame, cap_bytes)


@pytest.fixture
def told(home):
    before = faults.descriptors()
    told = Told(home)
    yield told
    told.writer.close()
    assert faults.descriptors() == before


@pytest.fixture
def another(home):
    another = Told(home)
    yield another
    another.writer.close()


@pytest.fixture
def host(home):
    return Home(home).host()
