"""Section 2, "Append": one event is one whole record, whatever happens to the file meanwhile."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from tests.support import homes, processes, records
from tests.support.processes import NEVER, answers, workload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.collector import Collector


def test_what_is_there_is_never_truncated(home: Path) -> None:
    """New events follow the bytes that were there, be they damaged."""
    before = records.encode(records.sample()) + b"\x92\xce torn"
    homes.put_bytes(home, before)
    processes.spool_events(home, 2)
    after = homes.open_segment(home).read_bytes()
    assert after.startswith(before)
    assert len(records.decode(after[len(before) :])) == 2


def test_an_event_is_on_disk_when_the_call_returns(home: Path) -> None:
    """Once event() has returned, the death of the process costs nothing."""
    code = "import signal\nfor i in range(7):\n    assert outcome(event('PING', {'n': i})) == 'spooled'\n"
    done = processes.run(
        home, ["-c", processes.PRELUDE + code + "os.kill(os.getpid(), signal.SIGKILL)"], NEVER
    )
    assert done.returncode == -9
    assert len(homes.spooled(home)) == 7


def test_a_renamed_segment_gets_no_more_events(home: Path) -> None:
    """After a seal the next event of a living workload goes to a new open segment."""
    code = f"""
assert outcome(event("PING", {{"n": 0}})) == "spooled"
spool = {str(homes.spool(home))!r}
os.rename(spool + "/events.msgpack", spool + "/sealed-1795000000000000000-0a1b2c3d.msgpack")
assert outcome(event("PING", {{"n": 1}})) == "spooled"
"""
    workload(home, code, NEVER)
    assert [len(records.decode(path.read_bytes())) for path in homes.segments(home)] == [1, 1]


def test_a_deleted_segment_costs_no_later_event(home: Path) -> None:
    """A workload whose segment is deleted, with all directories, writes its next event to a new one."""
    code = f"""
import shutil
assert outcome(event("PING", {{"n": 0}})) == "spooled"
shutil.rmtree({str(homes.telemetry(home))!r})
assert outcome(event("PING", {{"n": 1}})) == "spooled"
"""
    workload(home, code, NEVER)
    assert [event["event_details"] for event in homes.spooled(home)] == [{"n": 1}]


def test_consent_is_read_afresh_before_anything_is_created(home: Path) -> None:
    """Where the segment is gone and the settings now say off, nothing is created again."""
    config = homes.config_file(home)
    code = f"""
import shutil
assert outcome(event("PING")) == "spooled"
shutil.rmtree({str(homes.host(home))!r})
with open({str(config)!r}, "w") as file:
    file.write("enabled = false\\n")
print(json.dumps(outcome(event("PING"))))
"""
    assert answers(home, code, NEVER) == "disabled"
    assert [path.name for path in homes.telemetry(home).iterdir()] == ["config.toml"]


def test_a_stopped_lock_holder_does_not_hold_up_a_workload(home: Path) -> None:
    """A writer that does not get the lock of the segment appends without it."""
    path = homes.put(home, [records.sample()])
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        processes.spool_events(home, 3)
    assert len(homes.spooled(home)) == 4


def test_a_short_write_is_told_and_costs_no_other_event(home: Path, collector: Collector) -> None:
    """When the disk is full amid a record the future carries the error, and all other events arrive."""
    homes.configure(home, collector.url)
    code = f"""
import resource
path = {str(homes.open_segment(home))!r}
told = [outcome(event("PING", {{"n": i}})) for i in range(3)]
resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(path).st_size + 60, resource.RLIM_INFINITY))
told.append(outcome(event("PING", {{"n": 3}})))
told.append(outcome(event("PING", {{"n": 4}})))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
told += [outcome(event("PING", {{"n": i}})) for i in (5, 6)]
print(json.dumps(told))
"""
    told = answers(home, code, NEVER)
    assert [told[i] for i in (0, 1, 2, 5, 6)] == ["spooled"] * 5
    assert all(told[i].startswith("flwr_telemetry.") for i in (3, 4))
    processes.once(home)
    assert [event["event_details"]["n"] for event in collector.events()] == [0, 1, 2, 5, 6]


def test_no_descriptor_left_is_no_error_for_the_workload(home: Path) -> None:
    """A workload that has used up its descriptors gets an answer in the future and goes on."""
    code = """
import resource
outcome(event("PING"))
resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print(json.dumps([outcome(event("PING", {"n": i})) for i in range(3)]))
"""
    told = answers(home, code, NEVER)
    assert all(line == "spooled" or line.startswith("flwr_telemetry.") for line in told)


def test_a_home_that_vanishes_is_no_error_for_the_workload(home: Path) -> None:
    """A workload whose whole home is deleted goes on, and its next event makes the home again."""
    code = f"""
import shutil
assert outcome(event("PING")) == "spooled"
shutil.rmtree({str(home)!r})
print(json.dumps(outcome(event("PING"))))
"""
    assert answers(home, code, NEVER) == "spooled"
    assert len(homes.spooled(home)) == 1
