"""Section 3, the public Python API: event(), EventType and what a caller may rely on."""

import json
import re

from tests.support import flower, homes, processes
from tests.support.commands import RECORD_LOGS
from tests.support.processes import NEVER, answers, outcomes, workload

# Members of Flower's enum that later releases dropped again.
_LEGACY = {
    f"{name}_{end}"
    for name in "START_DRIVER RUN_DRIVER_API RUN_FLEET_API RUN_CLIENT_APP RUN_SERVER_APP".split()
    for end in ("ENTER", "LEAVE")
} | {
    *("CLI_FLOWER_SIMULATION_ENTER", "CLI_FLOWER_SIMULATION_LEAVE"),
    *("DRIVER_CONNECT", "DRIVER_DISCONNECT"),
}


def test_event_gives_a_future_that_is_done(home):
    code = """
import enum, inspect
import flwr_telemetry
from concurrent.futures import Future
assert {"EventType", "event", "flush"} <= set(flwr_telemetry.__all__)
assert issubclass(EventType, str) and issubclass(EventType, enum.Enum)
assert all(member.value == member.name for member in EventType)
assert list(inspect.signature(event).parameters) == ["event_type", "event_details"]
assert "timeout" in inspect.signature(flush).parameters
future = event(EventType.START_SERVER_ENTER)
assert isinstance(future, Future)
assert future.done()
assert future.result(timeout=0) == "spooled"
assert event(EventType.RUN_SUPERLINK_LEAVE, {"exit_code": 0}).result() == "spooled"
assert event(event_type=EventType.PING, event_details=None).result() == "spooled"
"""
    workload(home, code, NEVER)
    told = [(event["event_type"], event["event_details"]) for event in homes.spooled(home)]
    assert told == [("START_SERVER_ENTER", {}), ("RUN_SUPERLINK_LEAVE", {"exit_code": 0}), ("PING", {})]


@flower.needed
def test_every_member_of_flowers_enum_is_there(home):
    theirs = "from flwr.supercore.telemetry import EventType\nprint(*[member.name for member in EventType])"
    known = set(processes.run(home, ["-c", theirs], {"FLWR_TELEMETRY_ENABLED": "0"}).stdout.split())
    assert "PING" in known
    ours = set(answers(home, "print(json.dumps([member.name for member in EventType]))", NEVER))
    assert (known | _LEGACY) - ours == set()


@flower.needed
def test_strings_of_the_form_are_accepted(home):
    """A string [A-Z][A-Z0-9_]{0,63} and a str enum of such a value, Flower's too, are event types."""
    setup = """
import enum
from flwr.supercore.telemetry import EventType as Theirs
class Mine(str, enum.Enum):
    X = "MY_EVENT_2"
class Other(enum.StrEnum):
    Y = "Y9"
"""
    calls = ["'A'", "'A_1'", "'Z' + '9' * 63", "Mine.X", "Other.Y", "Theirs.PING"]
    assert outcomes(home, calls, NEVER, setup=setup) == ["spooled"] * len(calls)
    told = [event["event_type"] for event in homes.spooled(home)]
    assert told == ["A", "A_1", "Z" + "9" * 63, "MY_EVENT_2", "Y9", "PING"]


_NO_TYPES = [
    *("''", "'ping'", "'_A'", "'1A'", "'A-B'", "'A B'", "'A\\n'", "'\u00c4'", "'A' * 65"),
    *("None", "7", "b'PING'", "['PING']", "object()", "{}", "True", "Mine.PING"),
]


def test_other_event_types_are_refused_in_the_future(home):
    setup = "import enum\nclass Mine(str, enum.Enum):\n    PING = 'not an event type'"
    told = zip(_NO_TYPES, outcomes(home, _NO_TYPES, NEVER, setup=setup), strict=True)
    assert [call for call, line in told if not re.match(r"flwr_telemetry\.[\w.]+: .*\w", line)] == []
    assert homes.spooled(home) == []


def test_event_never_raises(home):
    """Objects that fail at every touch are refused like any other."""
    setup = """
class Hostile(dict):
    def __getattribute__(self, name):
        raise RuntimeError(name)
    def __iter__(self):
        raise RuntimeError("iter")
    def __len__(self):
        raise RuntimeError("len")
    def __repr__(self):
        raise RuntimeError("repr")
class Str(str):
    def __str__(self):
        raise RuntimeError("str")
    def __eq__(self, other):
        raise RuntimeError("eq")
    __hash__ = str.__hash__
from collections.abc import Mapping
class Odd(Mapping):
    def __getitem__(self, key):
        raise RuntimeError("getitem")
    def __iter__(self):
        yield "a"
    def __len__(self):
        return 1
"""
    calls = ["Hostile()", "'PING', Hostile(a=1)", "'PING', Odd()", "'PING', {'a': Hostile(b=1)}"]
    calls += ["Str('PING')", "'PING', {Str('k'): 1}"]
    told = outcomes(home, calls, NEVER, setup=setup)
    assert [line for line in told if line != "spooled" and not line.startswith("flwr_telemetry.")] == []


def test_one_line_for_a_home_and_one_warning_for_a_cause(home):
    """The event that creates telemetry/ tells once that metrics are on and how to see and stop them."""
    code = """
for kind in ("PING", "no type") * 3:
    outcome(event(kind))
print(json.dumps([line for line in records if line[0] in ("INFO", "WARNING")]))
"""
    first, second = (answers(home, RECORD_LOGS + code, NEVER) for _ in range(2))
    assert [level for level, _ in first] == ["INFO", "WARNING"]
    assert "flwr-telemetry" in first[0][1]
    assert [level for level, _ in second] == ["WARNING"]


def test_warnings_as_errors_do_not_change_an_event(home):
    code = processes.PRELUDE + "print(outcome(event('PING', {'a': 1})))"
    done = processes.run(home, ["-X", "dev", "-W", "error", "-c", code], NEVER)
    assert done.stdout == "spooled\n"
    assert "Warning" not in done.stderr


def test_the_import_loads_the_standard_library_only(home):
    """`import flwr_telemetry` loads none of platform, subprocess and asyncio either, and writes no file."""
    code = """
import json, sys
before = set(sys.modules)
import flwr_telemetry
new = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
foreign = [name for name in new if name not in sys.stdlib_module_names and name != "flwr_telemetry"]
print(json.dumps([foreign, [name for name in ("platform", "subprocess", "asyncio") if name in new]]))
"""
    done = processes.run(home, ["-c", code], {"FLWR_TELEMETRY_SIDECAR": "always"})
    assert done.stderr == ""
    assert json.loads(done.stdout) == [[], []]
    assert not home.exists()
    assert processes.processes_of(home) == {}


def test_event_never_touches_the_network(home, tmp_path):
    """An event that starts no sidecar uses no socket, name look-up, shell or program."""
    code = """
seen = []
forbidden = (
    *("socket.connect", "socket.getaddrinfo", "socket.gethostby", "socket.send", "socket.bind", "urllib."),
    *("subprocess.", "os.system", "os.fork", "os.posix_spawn", "os.exec"),
)
sys.addaudithook(lambda name, args: seen.append(name) if name.startswith(forbidden) else None)
for _ in range(3):
    assert outcome(event("PING", {"a": "b"})) == "spooled"
print(json.dumps(seen))
"""
    assert answers(home, code, NEVER, cwd=tmp_path) == []
