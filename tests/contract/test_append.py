"""Section 2, "Append": one event is one whole record, whatever happens to the file meanwhile."""

from tests.support import homes, processes, records
from tests.support.processes import NEVER, answers, workload


def test_what_is_there_is_never_truncated(home):
    """New events follow the bytes that were there, be they damaged."""
    before = records.encode(records.sample()) + b"\x92\xce torn"
    homes.put_bytes(home, before)
    processes.spool_events(home, 2)
    after = homes.open_segment(home).read_bytes()
    assert after.startswith(before)
    assert len(records.decode(after[len(before) :])) == 2


def test_a_renamed_segment_gets_no_more_events(home):
    """After a seal the next event of a living workload goes to a new open segment."""
    code = f"""
assert outcome(event("PING", {{"n": 0}})) == "spooled"
spool = {str(homes.spool(home))!r}
os.rename(spool + "/events.msgpack", spool + "/sealed-1795000000000000000-0a1b2c3d.msgpack")
assert outcome(event("PING", {{"n": 1}})) == "spooled"
"""
    workload(home, code, NEVER)
    assert [len(records.decode(path.read_bytes())) for path in homes.segments(home)] == [1, 1]


def test_consent_is_read_afresh_before_anything_is_created(home):
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
