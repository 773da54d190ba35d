"""A file as the collector: what it appends, and the errors that are a retry."""

import contextlib
import errno
import json
import os

import pytest

from flwr_telemetryd.delivery.file import FileSink
from flwr_telemetryd.delivery.outcome import Delivered, Retry
from tests.support import netfs, processes
from tests.support.faults import descriptors, fail_once

BODIES = [b'{"event_type":"PING","event_details":{},"context":{}}', b"{}"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_write_error_is_a_retry_and_leaves_nothing_open(tmp_path, number, monkeypatch):
    path = tmp_path / "out.jsonl"
    sink, before = FileSink(path.as_uri()), descriptors()
    fail_once(monkeypatch, "write", number)
    outcome = sink.send("k", BODIES[0])
    assert isinstance(outcome, Retry)
    assert os.strerror(number) in outcome.reason
    assert descriptors() == before
    assert sink.send("k", BODIES[0]) == Delivered()
    assert path.read_bytes() == BODIES[0] + b"\n"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "no_directory"])
def test_another_kind_of_file_is_a_retry_and_is_not_followed(tmp_path, kind):
    path = tmp_path / "out.jsonl" / ("x" * (kind == "no_directory"))
    if kind == "link":
        path.symlink_to(tmp_path / "target")
    elif kind != "no_directory":
        {"fifo": os.mkfifo, "directory": os.mkdir}[kind](path)
    outcome = FileSink(path.as_uri()).send("k", b"{}")
    assert isinstance(outcome, Retry)
    assert str(path) in outcome.reason
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("kind", ["local", "shared"])
def test_hosts_that_append_at_once_tear_no_line(tmp_path, kind):
    """Each waits for the others, even if an append lands at an old end of the file, as over NFS."""
    with contextlib.ExitStack() as stack:
        ways = [tmp_path / "served"]
        ways[0].mkdir()
        if kind == "shared":
            if netfs.missing():
                pytest.skip(netfs.missing())
            traits = netfs.Traits(locks="unanswered", cache_s=3600)
            ways = [stack.enter_context(netfs.mounted(*ways, tmp_path / name, traits)) for name in "mn"]
        writers = [append_often(ways[n % len(ways)] / "out.jsonl", name) for n, name in enumerate("abcd")]
        assert [writer.wait(processes.PATIENCE_S) for writer in writers] == [0] * 4
    told = [json.loads(line) for line in (tmp_path / "served" / "out.jsonl").read_bytes().splitlines()]
    assert sorted((line["writer"], line["number"]) for line in told) == [
        (name, number) for name in "abcd" for number in range(25)
    ]


def append_often(path, name):
    code = f"""
import os, sys, time
from flwr_telemetry import files
from flwr_telemetryd.delivery import file

def stale(descriptor, data):  # at the end as it was seen, a while ago, in two halves
    end = os.fstat(descriptor).st_size
    time.sleep(0.002)
    writer = os.open({str(path)!r}, os.O_WRONLY)
    os.pwrite(writer, data[:9], end)
    os.pwrite(writer, data[9:], end + 9)
    os.close(writer)

files.write_all = stale
sink = file.FileSink({path.as_uri()!r})
for number in range(25):
    body = b'{{"writer":"%s","number":%d}}' % (sys.argv[1].encode(), number)
    while (told := sink.send("k", body)) != file.Delivered():
        assert "another process" in told.reason, told
"""
    return processes.start(path.parent, ["-c", code, name])
