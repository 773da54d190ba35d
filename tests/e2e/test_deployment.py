"""The deployment engine and the local simulation runtime, unmodified and under ``flwr-telemetry run``.

``federation.py`` starts a SuperLink and two SuperNodes on loopback.
"""

import pytest

from tests.e2e import sides
from tests.e2e.federation import Federation, simulate

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sides.RELEASE < (1, 27), reason="its commands differ; test_simulation.py tests it"),
]

COMPLETED, FAILED = "finished:completed", "finished:failed"


def deploy(one, isolation, status):
    """Run the app on a federation until it completes or fails, and end the federation."""
    with Federation(one, isolation) as federation:
        ended_as, output = federation.run(num_rounds=1, fail=status == FAILED)
    assert ended_as == status, output
    one.told.append(federation.return_codes())


@pytest.mark.parametrize(
    ("isolation", "status"), [("subprocess", COMPLETED), ("process", COMPLETED), ("subprocess", FAILED)]
)
def test_every_event_of_a_deployment_arrives(tmp_path, record_property, isolation, status):
    """Each process of a federation reports only through us, for each isolation and each end of the apps."""
    table = sides.side_by_side(tmp_path, lambda one: deploy(one, isolation, status)).table
    record_property("table", table)


@pytest.mark.parametrize(
    ("run_config", "status"), [({}, COMPLETED), ({"fail": True}, FAILED), ({"exit_hard": True}, FAILED)]
)
def test_every_event_of_flwr_run_arrives(tmp_path, record_property, run_config, status):
    """`flwr run` starts a SuperLink, a simulation and Ray; all report only through us.

    This holds too if the server app raises, or if the client app ends its Ray worker.
    """

    def run(one):
        ended_as, output = simulate(one, **run_config)
        assert ended_as == status, output

    record_property("table", sides.side_by_side(tmp_path, run).table)
