"""The open is the lock: what a writer does while another process has the segment open."""

import _winapi
import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from flwr_telemetry import files, system
from flwr_telemetry.errors import SpoolUnsafeError
from flwr_telemetry.layout import is_whole
from flwr_telemetry.spool import LOCK_WAIT_S
from flwr_telemetry.windows import api
from flwr_telemetryd.spool import segments
from tests.support import homes, processes
from tests.support.processes import NEVER
from tests.test_spool_seam import FRAMES, Told, numbers

WRITES = api.APPEND | api.SYNCHRONIZE
SHARED = api.SHARE_READ | api.SHARE_DELETE


@pytest.fixture
def told(home):
    told = Told(home)
    told.append(FRAMES[0])
    return told


class Held:
    """A handle of a file, as another process may have it; released by `with`."""

    def __init__(self, path, access=WRITES, share=SHARED):
        self._handle = _winapi.CreateFile(str(path), access, share, 0, 3, api.PLAIN_FILE, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _winapi.CloseHandle(self._handle)


def test_a_stopped_writer_costs_a_seal_and_no_event(home, told):
    """Its segment gets another name, and is taken only once that writer is gone."""
    with Held(told.host.events):
        began = time.monotonic()
        told.append(FRAMES[1])
        assert time.monotonic() - began >= LOCK_WAIT_S / 2
        assert numbers(home) == [[0], [1]]
        assert segments.sealed_segments(told.host) == []
    (sealed,) = segments.sealed_segments(told.host)
    assert not is_whole(sealed.name)


def test_where_even_the_rename_is_refused_the_record_is_a_segment_of_its_own(home, told):
    with Held(told.host.events, share=api.SHARE_READ):
        told.append(FRAMES[1])
    assert sorted(numbers(home)) == [[0], [1]]
    (sealed,) = segments.sealed_segments(told.host)
    assert is_whole(sealed.name)
    assert not [name for name in os.listdir(told.host.spool) if name.endswith(files.PART_SUFFIX)]


def test_a_reader_holds_nobody_up(home, told):
    with files.opened(told.host.events, os.O_RDONLY):
        told.append(FRAMES[1])
        segments.seal(told.host, 1)
        told.append(FRAMES[2])
    assert numbers(home) == [[0, 1], [2]]


def test_a_link_in_the_place_of_the_segment_is_refused(home, told):
    told.writer.close()
    told.host.events.unlink()
    target = home.with_name("target")
    target.touch()
    try:
        os.symlink(target, told.host.events)
    except OSError:
        pytest.skip("this user makes no links")
    if not os.path.islink(told.host.events):
        pytest.skip("Wine makes no real links")
    with pytest.raises(SpoolUnsafeError):
        told.append(FRAMES[1])
    assert not target.stat().st_size


@pytest.mark.parametrize("call", [system.unlink, lambda path: system.replace(path, path.with_name("b"))])
def test_a_file_in_use_is_waited_for(tmp_path, call):
    """A scanner may have it open for a moment, without letting anybody rename or delete it."""
    path = tmp_path / "a"
    path.touch()
    code = "import sys, time; file = open(sys.argv[1]); print('open', flush=True); time.sleep(0.3)"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline().strip() == b"open"
        call(path)
    assert not path.exists()


def test_a_lock_hides_nothing_from_a_reader(tmp_path):
    """Locks are mandatory here, so the locked byte lies where no file reaches."""
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with files.opened(path, os.O_RDWR) as ours, files.opened(path, os.O_RDWR) as theirs:
        system.lock_exclusive(ours)
        with pytest.raises(PermissionError):
            system.lock_shared(theirs)
        assert os.read(theirs, 1) == b"x"
        system.unlock(ours)
        system.lock_shared(theirs)


def test_of_two_processes_that_append_each_waits_for_the_other(tmp_path):
    """Wine loses appends that meet, and so may a file server."""
    path = tmp_path / "a"
    code = (
        "import pathlib, sys\nfrom flwr_telemetryd.outbox import archive\n"
        "for n in range(60): archive.append_line(pathlib.Path(sys.argv[1]), sys.argv[2].encode())"
    )
    words = [[sys.executable, "-c", code, str(path), each * 50] for each in "abc"]
    children = [subprocess.Popen(each) for each in words]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert Counter(path.read_text().split()) == {each * 50: 60 for each in "abc"}


def test_processes_that_begin_at_once_agree_on_the_source(home):
    """A rename to a name that is free decides, as a hard link does elsewhere."""
    home.mkdir()
    code = "print('ready', flush=True)\nsys.stdin.readline()\nprint(outcome(event('PING')))"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    crowd = [processes.start(home, ["-c", processes.PRELUDE + code], NEVER, **pipes) for _ in range(6)]
    assert [each.stdout.readline() for each in crowd] == ["ready\n"] * 6
    for each in crowd:
        each.stdin.write("\n")
        each.stdin.flush()
    assert [each.communicate()[0] for each in crowd] == ["spooled\n"] * 6
    assert {event["context"]["source"] for event in homes.spooled(home)} == {(home / "source").read_text()}
    assert {path.name for path in home.iterdir()} == {"source", "telemetry"}


def test_the_spool_of_a_home_with_a_blank_and_an_accent(tmp_path):
    home = tmp_path / "Zoé B" / ".flwr"
    told = Told(home)
    told.append(FRAMES[0])
    assert numbers(home) == [[0]]
    assert homes.segments(home) == [told.host.events]
