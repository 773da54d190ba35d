"""The deployment engine and the local simulation runtime, unmodified and under ``flwr-telemetry run``."""

import signal

import pytest

from flwr_telemetry.log import FIRST_CONTACT
from tests.e2e import federation, sides
from tests.e2e.federation import Federation, simulate
from tests.support import homes, processes

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sides.RELEASE < (1, 27), reason="its commands differ; test_simulation.py tests it"),
]

COMPLETED, FAILED = "finished:completed", "finished:failed"


def deploy(one, isolation, status):
    """Run the app on a federation until it completes or fails, and end the federation."""
    with Federation(one, isolation) as running:
        ended_as, output = running.run(num_rounds=1, fail=status == FAILED)
    assert ended_as == status, output
    one.told.append(running.return_codes())


@pytest.mark.parametrize(
    ("isolation", "status"),
    [
        ("subprocess", COMPLETED),
        pytest.param("process", COMPLETED, marks=pytest.mark.heavy),
        pytest.param("subprocess", FAILED, marks=pytest.mark.heavy),
    ],
)
def test_every_event_of_a_deployment_arrives(tmp_path, record_property, isolation, status):
    """Each process of a federation reports only through us, for each isolation and each end of the apps."""
    table = sides.side_by_side(tmp_path, lambda one: deploy(one, isolation, status)).table
    record_property("table", table)


@pytest.mark.parametrize(
    ("run_config", "status"),
    [
        ({}, COMPLETED),
        pytest.param({"fail": True}, FAILED, marks=pytest.mark.heavy),
        pytest.param({"exit_hard": True}, FAILED, marks=pytest.mark.heavy),
    ],
)
def test_every_event_of_flwr_run_arrives(tmp_path, record_property, run_config, status):
    """Its SuperLink, simulation and Ray report only through us, also if an app raises or ends its worker."""

    def run(one):
        ended_as, output = simulate(one, **run_config)
        assert ended_as == status, output

    record_property("table", sides.side_by_side(tmp_path, run).table)


@pytest.mark.heavy
@pytest.mark.skipif(bool(sides.EMBEDDED), reason="it is about `flwr-telemetry run`")
def test_flwr_run_tells_of_the_metrics_and_of_the_superlink_that_stays(tmp_path, collector):
    """`run` says the line of first contact once; a later command with the variable names the SuperLink."""
    with sides.ours(tmp_path, collector.url) as ours, federation.local(ours) as flower:
        (homes.telemetry(ours.home) / "noticed").unlink()
        _, printed = flower.run_over(federation.LOCAL, {})
        assert printed.count(FIRST_CONTACT) == 1
        ours.changes["FLWR_TELEMETRY_ENABLED"] = "0"

        def told(name):
            command = flower.start(name, "flwr", "--version")
            assert command.wait() == 0
            return command.output

        (pid,) = flower.living("flower-superlink")
        output = told("with the SuperLink")
        assert f"flower-superlink, process {pid}" in output
        assert FIRST_CONTACT not in output
        processes.kill(pid, signal.SIGTERM)  # as the line says
        assert f"process {pid}" not in told("without it")
