"""What the first event of a process loads and asks: counted, because its time depends on the machine."""

from tests.support import homes, processes

LOADED = """
import sys
before = set(sys.modules)
told = outcome(event("PING", {"n": 1, "backend": "ray"}))
print(json.dumps([told, sorted(set(sys.modules) - before)]))
"""

NOT_NEEDED = """
msgpack datetime platform importlib.metadata email.parser tomllib signal flwr_telemetry.context
flwr_telemetry.record flwr_telemetry.launch flwr_telemetry.presence flwr_telemetry.shared_home
flwr_telemetry.goodbye
""".split()

MOST_MODULES_OF_OURS = 14
"""Each takes 0.1 ms to find, read and execute. Load a module later, or fold it into another one."""


def test_a_first_event_beside_a_sidecar_loads_little(home, collector):
    """The home is known, its settings are plain, and its sidecar lives."""
    homes.configure(home, collector.url, idle_exit_s=60)
    (homes.telemetry(home) / "noticed").unlink()  # an empty one is that of an early release
    processes.emit(home, 1)
    processes.running_sidecar(home)
    told, modules = processes.answers(home, LOADED, processes.NEVER)
    assert told == "spooled"
    assert {*NOT_NEEDED} & {*modules} == set()
    ours = [name for name in modules if name.startswith("flwr_telemetry.")]
    assert len(ours) <= MOST_MODULES_OF_OURS, ours


MANY = """
import sys
told = {outcome(event("PING", {"n": number})) for number in range(1010)}
print(json.dumps([*told, "msgpack" in sys.modules]))
"""


def test_many_events_load_the_faster_packer(home):
    assert processes.answers(home, MANY, processes.NEVER) == ["spooled", True]
    told = [event["event_details"] for event in homes.spooled(home)]
    assert told == [{"n": number} for number in range(1010)]
