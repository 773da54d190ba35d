"""Files of any size in any place: the memory of a sidecar stays near that of a plain run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import SEALED, body_of, committed, place
from tests.support import homes, processes, records, wire
from tests.support.collector import Collector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST = 1.5  # times the memory of a plain run
MOST_WITH_FORGOTTEN = 2.5  # up to 16 MiB of forgotten IDs are looked through for each body
LARGE = 100 * 2**20

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


def peak_of_once(home: Path) -> int:
    """Run `flwr-telemetryd --once`, which must not crash; give the most memory that it had, in bytes."""
    done = processes.run(home, ["-c", PEAK])
    assert "Traceback" not in done.stderr
    return int(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def plain_peak(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Give the peak of a run that delivers a few events and meets nothing odd."""
    directory = tmp_path_factory.mktemp("plain", numbered=True)
    directory.chmod(0o700)
    home = directory / ".flwr"
    homes.put(home, records.series(4))
    committed(home, body_of(records.sample({"n": 9})))
    with Collector() as collector:
        homes.configure(home, collector.url, spool_max_mib=1000)
        return peak_of_once(home)


def sparse(path: Path) -> None:
    """Make a file 100 MiB longer, without using the disk for it."""
    os.truncate(path, path.stat().st_size + LARGE)


def _segment_of_zeros(home: Path) -> None:
    path = homes.put(home, records.series(1, start=1), name=SEALED)
    sparse(path)
    with path.open("ab") as file:
        file.write(records.encode(records.series(1, start=2)[0]))


def _segment_that_begins_a_record(home: Path) -> None:
    header = b"\x92\xce\x12\x34\x56\x78\xc5\xff\xff"
    homes.put_bytes(home, b"".join(map(records.encode, records.series(2, start=1))) + header * 20_000)


def _body(home: Path) -> None:
    homes.put(home, records.series(2, start=1))
    sparse(place(home, f"outbox/b/{wire.key_of(b'x')}.json", b"{"))


def _split(home: Path) -> None:
    homes.put(home, records.series(2, start=1))
    sparse(place(home, f"outbox/b/{wire.key_of(b'x')}.split", b"{"))


def _own_files(home: Path) -> None:
    homes.put(home, records.series(2, start=1))
    for name in ("sidecar.json", "not-before", "../service-x.json", "dropped"):
        sparse(place(home, name, b""))


def _forgotten(home: Path) -> None:
    homes.put(home, records.series(2, start=1))
    sparse(place(home, "../forgotten", b""))


def _archive(home: Path) -> None:
    homes.put(home, records.series(2, start=1))
    for name in ("sent/2026-11-20.jsonl", f"rejected/{wire.key_of(b'x')}.json", "damaged/x.bin"):
        sparse(place(home, name, b""))


@pytest.mark.skipif(not hasattr(os, "truncate"), reason="no sparse files here")
@pytest.mark.parametrize(
    "put",
    [_segment_of_zeros, _segment_that_begins_a_record, _body, _split, _own_files, _archive, _forgotten],
)
def test_what_is_large_is_never_held(
    home: Path, collector: Collector, plain_peak: int, put: Callable[[Path], None]
) -> None:
    """100 MiB in the place of a segment, a body or any other file: all else is delivered, within bounds."""
    homes.configure(home, collector.url, spool_max_mib=1000)
    committed(home, body_of(records.sample({"n": 0})))
    put(home)
    most = MOST_WITH_FORGOTTEN if put is _forgotten else MOST
    assert peak_of_once(home) < most * plain_peak
    assert set(wire.serials(collector.events())) == {0, 1, 2}
