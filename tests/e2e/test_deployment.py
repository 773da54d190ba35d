"""The deployment engine and the local simulation runtime, as Flower made them and under ours.

A SuperLink, two SuperNodes and all that they start, on loopback, by ``federation.py``.
"""

import pytest

from tests.e2e import sides
from tests.e2e.federation import Federation, simulate

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sides.RELEASE < (1, 27), reason="its commands are others; simulations are tried"),
]


COMPLETED, FAILED = "finished:completed", "finished:failed"


def deploy(one, isolation, status):
    """Run the app on a federation until it completes or fails, and end that."""
    with Federation(one, isolation) as federation:
        run = federation.run(num_rounds=1, fail=status == FAILED)
    assert run.status == status, run.output
    one.told.append(federation.return_codes())


@pytest.mark.parametrize(
    ("isolation", "status"), [("subprocess", COMPLETED), ("process", COMPLETED), ("subprocess", FAILED)]
)
def test_every_event_of_a_deployment_arrives(tmp_path, record_property, isolation, status):
    """Each process of a federation reports through us alone, however the apps are started and end."""
    table = sides.side_by_side(tmp_path, lambda one: deploy(one, isolation, status)).table
    record_property("table", table)


@pytest.mark.parametrize(
    ("run_config", "status"), [({}, COMPLETED), ({"fail": True}, FAILED), ({"exit_hard": True}, FAILED)]
)
def test_every_event_of_flwr_run_arrives(tmp_path, record_property, run_config, status):
    """`flwr run` starts a SuperLink, that a simulation, and that Ray: all report through us alone.

    So they do if the server app raises, and if the client app takes its Ray worker with it.
    """

    def run(one):
        done = simulate(one, **run_config)
        assert done.status == status, done.output

    record_property("table", sides.side_by_side(tmp_path, run).table)
