"""A workload of the demo reports two events that tell which workload it was."""

from flwr_telemetryd.admin.demo import workload
from tests.support import homes, processes


def test_both_events_are_in_the_spool(home):
    done = processes.run(home, ["-m", workload.__name__, "7"], processes.NEVER)
    assert done.returncode == 0, done.stderr
    events = homes.spooled(home)
    assert [event["event_type"] for event in events] == [workload.ENTER.value, workload.LEAVE.value]
    assert {event["event_details"]["run-id-hash"] for event in events} == {workload.run_id_hash(7)}


def test_a_workload_without_telemetry_fails(home):
    done = processes.run(home, ["-m", workload.__name__, "7"], {"FLWR_TELEMETRY_ENABLED": "0"})
    assert done.returncode == 1
