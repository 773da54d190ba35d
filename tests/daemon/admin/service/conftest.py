"""A login node with a user, and a collector that it reaches."""

import pytest

from tests.support import homes, machine
from tests.support.collector import Collector


@pytest.fixture
def node(tmp_path, request):
    """Give a machine, by the options of the test, on which a user has just logged in."""
    if reason := machine.why_not():
        pytest.skip(reason)
    with machine.Machine(tmp_path, **getattr(request, "param", {})) as made:
        made.log_in()
        yield made


@pytest.fixture
def flwr_home(node):
    """Give the `.flwr` of that user, by its path outside the machine."""
    return node.home / ".flwr"


@pytest.fixture
def reached(node, flwr_home):
    """Give a collector on the machine's own loopback, named in the user's settings."""
    with Collector(node.socket()) as running:
        homes.configure(flwr_home, running.url)
        node.give(flwr_home)
        yield running
