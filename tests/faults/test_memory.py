"""Large spools, and files of any size in any place: a sidecar's memory stays near that of a plain run."""

import json
import os
from itertools import count, repeat

import pytest

from tests.faults.scene import SEALED, body_of, committed, place
from tests.support import homes, processes, records, wire
from tests.support.collector import Collector

# Times the memory of a plain run: up to 16 MiB of forgotten IDs are looked through for each body.
MOST_WITH_FORGOTTEN = 2.5
LARGE = 100 * 2**20
SPOOL_BYTES = 40 * 2**20
MORE = 16 * 2**20  # than the memory of a plain run

# A process's own peak, since it was that program: what `getrusage` tells begins with its parent's.
PEAK = """
import sys
from flwr_telemetryd.__main__ import main

def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

try:
    code = main(["--once"])
finally:
    print(peak())
sys.exit(code)
"""


def peak_of_once(home):
    """Run `flwr-telemetryd --once`, which must not crash; give the most memory that it had, in bytes."""
    done = processes.run(home, ["-c", PEAK], timeout=10 * processes.PATIENCE_S)
    assert "Traceback" not in done.stderr
    return int(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def plain_peak(tmp_path_factory):
    """Give the peak of a run that delivers a few events and meets nothing odd."""
    directory = tmp_path_factory.mktemp("plain", numbered=True)
    directory.chmod(0o700)
    home = directory / ".flwr"
    homes.put(home, records.series(4))
    committed(home, body_of(records.sample({"n": 9})))
    with Collector() as collector:
        homes.configure(home, collector.url, spool_max_mib=1000)
        return peak_of_once(home)


def sparse(path):
    """Make a file 100 MiB longer, without using the disk for it."""
    os.truncate(path, path.stat().st_size + LARGE)


def _segment_of_zeros(home):
    path = homes.put(home, records.series(1, start=1), name=SEALED)
    sparse(path)
    with path.open("ab") as file:
        file.write(records.encode(records.series(1, start=2)[0]))


def _segment_that_begins_a_record(home):
    header = b"\x92\xce\x12\x34\x56\x78\xc5\xff\xff"
    homes.put_bytes(home, b"".join(map(records.encode, records.series(2, start=1))) + header * 20_000)


def _files(*names, data=b""):
    def put(home):
        homes.put(home, records.series(2, start=1))
        for name in names:
            sparse(place(home, name, data))

    return put


KEY = wire.key_of(b"x")
PLACES = {
    "segment of zeros": _segment_of_zeros,
    "segment that begins a record": _segment_that_begins_a_record,
    "body": _files(f"outbox/b/{KEY}.json", data=b"{"),
    "split": _files(f"outbox/b/{KEY}.split", data=b"{"),
    "state": _files("sidecar.json", "not-before", "../service-x.json", "dropped"),
    "archive": _files("sent/2026-11-20.jsonl", f"rejected/{KEY}.json", "damaged/x.bin"),
    "forgotten": _files("../forgotten"),
}


@pytest.mark.skipif(not hasattr(os, "truncate"), reason="no sparse files here")
@pytest.mark.parametrize("where", PLACES)
def test_what_is_large_is_never_held(home, collector, plain_peak, where):
    """100 MiB in the place of a segment, a body or any other file: all else is delivered, within bounds."""
    homes.configure(home, collector.url, spool_max_mib=1000)
    committed(home, body_of(records.sample({"n": 0})))
    PLACES[where](home)
    most = MOST_WITH_FORGOTTEN * plain_peak if where == "forgotten" else plain_peak + MORE
    assert peak_of_once(home) < most
    assert set(wire.serials(collector.events())) == {0, 1, 2}


def _events(details):
    return map(records.encode, map(records.sample, details))


# Small events that share no body are not more, since each body is brought to the disk.
SPOOLS = {
    "equal events": lambda: repeat(records.encode(records.sample({"a": 1}))),
    "largest events": lambda: _events({f"name-{number}": "x" * 8000} for number in count()),
    "small events": lambda: _events({f"name-{number}": number} for number in range(5_000)),
    "workloads": lambda: _events({"run": f"run-{number}"} for number in range(60_000)),
    "zeros": lambda: repeat(bytes(2**20)),
    "starts": lambda: repeat(b"\x92\xce\0\0\0\0\xc5\xff\xff" * (2**20 // 9)),
}


PLAIN = {"largest events", "starts"}
"""The spools that are tried in every run."""


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [name if name in PLAIN else pytest.param(name, marks=pytest.mark.heavy) for name in SPOOLS]
)
def test_a_large_spool_takes_little_more_memory(home, plain_peak, name):
    """40 MiB of equal events, of distinct ones or of garbage cost some MiB more than a few events."""
    homes.configure(home, f"file://{home.parent}/delivered.jsonl", spool_max_mib=1000)
    size = 0
    with homes.put_bytes(home, b"").open("ab") as segment:
        for data in SPOOLS[name]():
            size += segment.write(data)
            if size >= SPOOL_BYTES:
                break
    assert peak_of_once(home) <= plain_peak + MORE
    totals = json.loads(processes.command(home, "status", "--json").stdout)["totals"]
    assert totals["spool"]["events"] == totals["outbox"]["events"] == 0
    assert bool(totals["counters"]["damaged"]) is (name in {"zeros", "starts"})
