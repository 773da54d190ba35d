"""The seam of the spool: the writer of this system, and what a sidecar does with its segments.

These tests run on every system, so under Wine they hold the writer of Windows to the same behaviour.
"""

import ast
import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flwr_telemetry import system
from flwr_telemetry.emitter import Writer
from flwr_telemetry.errors import SpoolError, SpoolFullError
from flwr_telemetry.layout import Home
from flwr_telemetry.spool import CreationRefusedError
from flwr_telemetryd.outbox import batch, discard
from flwr_telemetryd.spool import reader, segments
from tests.support import homes, processes, records
from tests.support.told import ToldWriter

WRITERS, EACH = 4, 150
FRAMES = [records.encode(event) for event in records.series(4)]


class Told(ToldWriter):
    def __init__(self, home):
        super().__init__(Writer, Home(home).host())


@pytest.fixture
def told(home):
    told = Told(home)
    yield told
    told.writer.close()


def numbers(home):
    decoded = (records.decode(path.read_bytes()) for path in homes.segments(home))
    return [[event["event_details"]["n"] for event in events] for events in decoded]


def test_windows_has_each_function_of_the_platform():
    """A new function of `system.py` would run the code of POSIX there."""
    names = {}
    for module, pattern in (("system", "system.py"), ("windows", "windows/*.py")):
        found = names[module] = {}
        paths = Path(system.__file__).parent.glob(pattern)
        for node in (node for path in paths for node in ast.parse(path.read_text("utf-8")).body):
            if isinstance(node, ast.FunctionDef):
                found[node.name] = ast.unparse(node.args)
            elif isinstance(node, ast.Assign):
                found |= dict.fromkeys(map(ast.unparse, node.targets))
    functions = {name for name, arguments in names["system"].items() if arguments is not None}
    assert functions - names["windows"].keys() == {"is_opened_with"}  # only the writer of POSIX asks it
    both = functions & names["windows"].keys()
    different = {name for name in both if names["windows"][name] not in (None, names["system"][name])}
    assert different == set()


def test_records_follow_each_other_and_a_seal_begins_a_new_segment(home, told):
    told.append(FRAMES[0])
    told.append(FRAMES[1])
    sealed = segments.seal(told.host, 1)
    told.append(FRAMES[2])
    assert numbers(home) == [[0, 1], [2]]
    assert segments.sealed_segments(told.host) == [sealed]
    assert told.opened == 2 or system.WINDOWS  # there no segment stays open


@pytest.mark.parametrize("what", ["home", "telemetry", "root", "spool", "events"])
def test_a_spool_that_is_removed_is_made_again(home, told, what):
    """Nothing that a writer holds open keeps anybody from removing it."""
    told.append(FRAMES[0])
    path = home if what == "home" else getattr(told.host, what)
    path.unlink() if what == "events" else shutil.rmtree(path)
    told.append(FRAMES[1])
    assert numbers(home) == [[1]]
    assert told.asked == 2


def test_what_is_refused(home, told):
    """Nothing is created without consent. A record beyond the cap is dropped and counted."""
    told.may = False
    with pytest.raises(CreationRefusedError):
        told.append(FRAMES[0])
    assert not told.host.telemetry.exists()
    told.may = True
    told.append(FRAMES[0])
    with pytest.raises(SpoolFullError):
        told.append(FRAMES[1], cap_bytes=len(FRAMES[0]))
    assert told.host.dropped.read_bytes() == b"\0"
    segments.seal(told.host, 1)
    told.may = False
    with pytest.raises(CreationRefusedError):
        told.append(FRAMES[1])
    assert numbers(home) == [[0]]
    told.may = True
    told.host.events.mkdir()
    with pytest.raises(SpoolError):
        told.append(FRAMES[1])


def test_a_batch_takes_what_is_sealed_and_discards_it(home, told):
    """The commit renames a directory, and no writer has a file of it open."""
    told.append(FRAMES[0])
    segments.seal(told.host, 1)
    told.append(FRAMES[1])
    taken = batch.take(told.host, "owner", 2)
    written = batch.write(taken, bursts=True, hardware={})
    committed = batch.commit(taken)
    discard.discard(told.host, committed, "owner", 3)
    assert (written.bodies, [path.suffix for path in committed.iterdir()]) == (1, [".json"])
    assert numbers(home) == [[1]]


WRITE = """
import sys, time
from pathlib import Path
from flwr_telemetry.emitter import Writer
from flwr_telemetry.layout import Home
from tests.support import records

first, count = int(sys.argv[2]), int(sys.argv[3])
writer = Writer(Home(Path(sys.argv[1])).host(), lambda: True, lambda: None)
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + count):
    writer.append(records.encode(records.sample({"n": number})), 1e9)
    print(number, flush=True)
"""


def start_writer(home, first, count):
    words = ["-c", WRITE, str(home), str(first), str(count)]
    path = {"PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    return processes.start(home, words, path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_writers_and_a_sealer_lose_and_double_nothing(home):
    """Half of the writers are killed. What they told is in the spool, once."""
    host, told = Home(home).host(), []
    with contextlib.ExitStack() as stack:
        started = (start_writer(home, number * 10_000, EACH) for number in range(WRITERS))
        writers = [stack.enter_context(writer) for writer in started]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("\n")
            writer.stdin.flush()
        for number, writer in enumerate(writers):
            lines = [writer.stdout.readline() for _ in range(EACH // 3)]
            segments.seal(host, time.time_ns())
            if number % 2:
                writer.kill()
            told += map(int, filter(str.strip, [*lines, *writer.stdout]))
    segments.seal(host, time.time_ns())
    read = (reader.read(segments.chunks(path)) for path in segments.sealed_segments(host))
    whole = [piece for pieces in read for piece in pieces if isinstance(piece, reader.Record)]
    found = [record.event["event_details"]["n"] for record in whole]
    assert sorted(found) == sorted(set(found))
    assert set(told) <= set(found)
    assert len(found) - len(told) <= WRITERS  # a killed one may not have told its last
