"""The log: the standard error of the moment, handlers that are closed, and handlers that report events."""

import logging

import pytest

from flwr_telemetry import log, packing, record
from tests.emitter.conftest import numbers
from tests.support import processes, records
from tests.support.processes import NEVER

LOGGING = {**NEVER, "FLWR_TELEMETRY_LOGGING": "1"}
ANOTHER_STREAM = "sys.stderr, real = io.TextIOWrapper(io.BytesIO()), sys.stderr"
BESIDE = """
closed, heard = logging.StreamHandler(io.StringIO()), io.StringIO()
closed.stream.close()
logging.getLogger("flwr-telemetry").addHandler(closed)
logging.basicConfig(stream=heard, level=logging.WARNING)
"""
# Of each stream: what comes before the first event and after it, and whether the second one is heard.
STREAMS = {
    "another_that_is_closed": (ANOTHER_STREAM, "sys.stderr.close(); sys.stderr = real", True),
    "a_handler_s_that_is_closed": (
        f"{ANOTHER_STREAM}; logging.basicConfig(level=10)",
        "sys.stderr.close(); sys.stderr = real",
        True,
    ),
    "the_logger_s_that_is_closed": (
        "logging.getLogger('flwr-telemetry').addHandler(logging.StreamHandler(io.StringIO()))",
        "logging.getLogger('flwr-telemetry').handlers[0].stream.close()",
        True,
    ),
    "none": ("", "sys.stderr = None", False),
    "a_closed_one": ("", "sys.stderr.close()", False),
    "a_broken_one": ("", "sys.stderr = object()", False),
    "a_closed_one_beside_an_open_one": (BESIDE, "sys.stderr.flush()", False),
}


@pytest.mark.parametrize(("before", "after", "is_heard"), STREAMS.values(), ids=STREAMS)
def test_a_line_goes_to_the_standard_error_of_the_moment(home, before, after, is_heard):
    """A stream that is closed by now is not written to, and no other handler loses a line."""
    code = f"""
import io, logging
{before}
told = [outcome(event("PING", {{"n": 1}}))]
{after}
told += [outcome(event("PING", {{"n": 2}})), outcome(event("no type"))]
print(json.dumps(told))
sys.stderr = sys.__stderr__
"""
    done = processes.workload(home, code, LOGGING)
    assert done.stdout.startswith('["spooled", "spooled", "flwr_telemetry.errors.InvalidEventError')
    assert "Logging error" not in done.stderr
    assert "Traceback" not in done.stderr
    for line in ('"event_details": {"n": 2}', "an event type is"):
        assert (line in done.stderr) is is_heard
    assert before != BESIDE or done.stderr == ""


REPORTING = """
import logging.handlers, queue
calls, told = [], []

class Handler(logging.Handler):
    def emit(self, record):
        calls.append(record.levelname)
        told.append(outcome(event("LOG", {"n": len(calls)})))



logger, waiting = logging.getLogger("flwr-telemetry"), queue.Queue()
logger.setLevel(logging.DEBUG)
"""
AT_ONCE = """
logger.addHandler(Handler())
told += [outcome(event("PING", {"n": 0})), outcome(event("PING", {"n": 0}))]
print(json.dumps([calls, told]))
"""
IN_A_THREAD = """
import time
listener = logging.handlers.QueueListener(waiting, Handler())
logger.addHandler(logging.handlers.QueueHandler(waiting))
listener.start()
told.append(outcome(event("PING", {"n": 0})))
while len(calls) < 2:
    time.sleep(0.01)
listener.stop()  # it handles first what waits
print(json.dumps([calls, told]))
"""


@pytest.mark.parametrize(
    ("code", "calls", "sent"),
    [(AT_ONCE, ["DEBUG", "DEBUG", "INFO"], [0, 0, 1, 2, 3]), (IN_A_THREAD, ["DEBUG", "INFO"], [0, 1, 2])],
    ids=["at once", "in a thread"],
)
def test_a_handler_that_reports_events(home, code, calls, sent):
    """Its events are spooled, and their payloads are not logged: a call for each event, not hundreds."""
    heard, told = processes.answers(home, REPORTING + code, LOGGING)
    assert (sorted(heard), told) == (calls, ["spooled"] * len(sent))
    assert sorted(numbers(home)) == sent


FAILING = """
import logging
calls = []

class Handler(logging.Handler):
    def emit(self, record):
        calls.append(record.levelname)
        event("PING", {type(f"Class{len(calls)}", (), {})(): 1})
        event("PING", {"a": type(f"Class{len(calls)}", (), {})()})

logging.getLogger("flwr-telemetry").addHandler(Handler())
event("no type")
event("PING", {"a": object()})
print(json.dumps(calls))
"""


def test_a_handler_whose_events_fail(home):
    """Its own failures are not logged while it runs, and those after it are."""
    assert processes.answers(home, FAILING, NEVER) == ["WARNING", "WARNING"]


def test_a_handler_that_raises_lets_the_next_payload_be_logged(monkeypatch):
    """Also if it raises what ends a program, such as SystemExit."""
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            seen.append(record)
            raise SystemExit

    monkeypatch.setattr(log, "_open_handlers", lambda _: iter([Handler()]))
    event = records.sample()
    payload = packing.assemble(
        packing.event_head("PING"), record.pack({}), packing.context_parts({}, event["context"]), 0
    )
    for _ in range(2):
        with pytest.raises(SystemExit):
            log.log_payload(payload, True)
    assert len(seen) == 2
