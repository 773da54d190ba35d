"""The memory of a sidecar stays bounded, whatever lies in the spool."""

from __future__ import annotations

import json
from itertools import count, repeat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import homes, processes, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MIB = 2**20
SPOOL_BYTES = 64 * MIB
MORE_BYTES = 16 * MIB  # than a sidecar takes that delivers one event

# The peak of this very program: what the system tells of a child may be the peak of who started it.
ONCE = """
import re, sys
from flwr_telemetryd.__main__ import main
code = main(["--once"])
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
sys.exit(code)
"""


def one() -> Iterable[bytes]:
    """Give one event."""
    return [records.encode(records.sample())]


def equal() -> Iterable[bytes]:
    """Give one event again and again."""
    return repeat(records.encode(records.sample({"a": 1})))


def large() -> Iterator[bytes]:
    """Give events of the largest size, none of which shares a body with another."""
    return (records.encode(records.sample({f"name-{number}": "x" * 8000})) for number in count())


def small() -> Iterator[bytes]:
    """Give small events that share no body either; not more, since each body is brought to the disk."""
    return (records.encode(records.sample({f"name-{number}": number})) for number in range(5_000))


def workloads() -> Iterator[bytes]:
    """Give events of as many workloads, with values of their own."""
    return (records.encode(records.sample({"run": f"run-{number}"})) for number in range(60_000))


def zeros() -> Iterable[bytes]:
    """Give nothing that is a record."""
    return repeat(bytes(MIB))


def starts() -> Iterable[bytes]:
    """Give the beginning of a record again and again."""
    return repeat(b"\x92\xce\0\0\0\0\xc5\xff\xff" * (MIB // 9))


def peak_bytes(home: Path, spooled: Iterable[bytes]) -> int:
    """Let a sidecar work off a spool, up to 64 MiB of it; the most memory that it ever held."""
    homes.configure(home, f"file://{home.parent}/delivered.jsonl", spool_max_mib=1000)
    size = 0
    with homes.put_bytes(home, b"").open("ab") as segment:
        for data in spooled:
            size += segment.write(data)
            if size >= SPOOL_BYTES:
                break
    done = processes.run(home, ["-c", ONCE], timeout=10 * processes.PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return 1024 * int(done.stdout)


@pytest.fixture(scope="module")
def plain_bytes(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Give the peak of a sidecar that delivers one event."""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell the peak of a process's memory")
    home = tmp_path_factory.mktemp("plain") / "home" / ".flwr"
    home.parent.mkdir()
    return peak_bytes(home, one())


@pytest.mark.parametrize(
    "spooled", [equal, large, small, workloads, zeros, starts], ids=lambda spooled: spooled.__name__
)
def test_a_large_spool_takes_little_more_memory(
    home: Path, plain_bytes: int, spooled: Callable[[], Iterable[bytes]]
) -> None:
    """64 MiB of equal events, of distinct ones or of garbage cost some MiB more than one event."""
    peak = peak_bytes(home, spooled())
    print(f"{peak / MIB:.1f} MiB, and {plain_bytes / MIB:.1f} MiB for one event")  # noqa: T201
    assert peak <= plain_bytes + MORE_BYTES
    totals = json.loads(processes.command(home, "status", "--json").stdout)["totals"]
    assert totals["spool"]["events"] == totals["outbox"]["events"] == 0
    assert bool(totals["counters"]["damaged"]) is (spooled in {zeros, starts})
