"""A disk that is really full: nothing that was told to be kept is lost, and nothing counts twice."""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support import homes, processes, records, wire

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.zygote import Done, Zygote
    from tests.support.collector import Collector

N = 12


class Disk:
    """A home on a small disk of its own, which only its zygote and those it forks see.

    Args:
        zygote: an interpreter with private mounts.
        home: the home, by the path that processes in there have for it.
    """

    def __init__(self, zygote: Zygote, home: Path) -> None:
        self.zygote = zygote
        self.home = home
        zygote.shell(home, f"mount -t tmpfs -o size=1m,mode=700 none {home.parent}")
        self._disk = zygote.root / str(home.parent)[1:]
        self.seen = self._disk / home.name

    def fill(self) -> None:
        """Use up every block."""
        with contextlib.suppress(OSError), (self._disk / "filler").open("ab", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass

    def free(self) -> None:
        """Give all that is taken."""
        (self._disk / "filler").unlink()

    def once(self) -> Done:
        """Run `flwr-telemetryd --once` in there."""
        return self.zygote.once(self.home, logs=False)


@pytest.fixture
def disk(apart: Zygote, home: Path) -> Disk:
    """Give a home on a small disk."""
    return Disk(apart, home)


def accepted(collector: Collector) -> Counter[str]:
    """Give how often each key was sent since the last failure; all of these were accepted."""
    return Counter(request.key for request in collector.requests)


def archived(home: Path) -> list[bytes]:
    """Give the bodies in the archive; a line that was torn there is none."""
    lines = homes.sent(home)
    return sorted(line for line in lines if line.endswith(b"}") and wire.expand(line))


def commit(disk: Disk, collector: Collector) -> None:
    """Let N bodies wait in the outbox, as a collector that is down leaves them."""
    homes.configure(disk.seen, collector.url, bursts=False)
    homes.put(disk.seen, records.series(N))
    collector.answer_with(503)
    assert disk.once().returncode == 1
    assert len(homes.waiting(disk.seen)) == N
    assert collector.accepted == {}


def test_writers_are_told(disk: Disk, collector: Collector) -> None:
    """Each event is spooled or its future says that the disk is full; what was spooled arrives."""
    homes.configure(disk.seen, collector.url)
    assert disk.zygote.emit(disk.home) == ["spooled"]
    disk.fill()
    told = disk.zygote.emit(disk.home, 30, start_at=1)
    spooled = [n for n, line in enumerate(told, start=1) if line == "spooled"]
    assert len(spooled) < 30
    for line in set(told) - {"spooled"}:
        assert line.startswith("flwr_telemetry.errors.SpoolFullError"), line
    disk.free()
    assert disk.zygote.emit(disk.home, start_at=40) == ["spooled"]
    assert disk.once().returncode == 0
    assert wire.serials(collector.events()) == [0, *spooled, 40]


def test_the_first_event_of_a_home(disk: Disk, collector: Collector) -> None:
    """Where not even the home can be made the future says so; with space all is made, the source too."""
    disk.fill()
    told = disk.zygote.emit(disk.home, 3)
    assert all(line.startswith("flwr_telemetry.errors.SpoolFullError") for line in told), told
    disk.free()
    homes.configure(disk.seen, collector.url)
    assert disk.zygote.emit(disk.home) == ["spooled"]
    assert disk.once().returncode == 0
    (event,) = collector.events()
    assert event["context"]["source"] == (disk.seen / "source").read_text()


def test_a_process_that_began_on_a_full_disk(disk: Disk) -> None:
    """As soon as there is space its events are spooled, and soon with the source that all others have."""
    disk.fill()
    code = f"""
import time, uuid
first = outcome(event("PING"))
os.unlink({str(disk.home.parent / "filler")!r})
second = outcome(event("PING"))
end = time.monotonic() + 50
while not os.path.exists({str(disk.home / "source")!r}) and time.monotonic() < end:
    event("PING")
    time.sleep(0.05)
print(json.dumps([first, second, outcome(event("PING"))]))
"""
    first, second, third = disk.zygote.answers(disk.home, code)
    assert first.startswith("flwr_telemetry.errors.SpoolFullError")
    assert (second, third) == ("spooled", "spooled")
    assert homes.spooled(disk.seen)[-1]["context"]["source"] == (disk.seen / "source").read_text()


@pytest.mark.parametrize("bursts", [True, False])
def test_what_is_spooled_stays(disk: Disk, collector: Collector, bursts: bool) -> None:
    """A sidecar that cannot write a body leaves all in its place; with space each event arrives once."""
    homes.configure(disk.seen, collector.url, bursts=bursts)
    homes.put(disk.seen, records.series(100))
    disk.fill()
    for _ in range(3):
        assert disk.once().returncode in {0, 1}
    assert len(homes.unsent_files(disk.seen)) or len(collector.events()) == 100
    disk.free()
    assert disk.once().returncode == 0
    assert wire.serials(collector.events()) == list(range(100))
    assert max(accepted(collector).values()) <= 4
    assert homes.unsent_files(disk.seen) == []
    status = disk.zygote.status(disk.home)["totals"]
    assert status["counters"]["dropped"] == 0
    assert status["sent"]["events"] == 100


def test_what_is_committed_is_delivered(disk: Disk, collector: Collector) -> None:
    """It goes out although nothing can be archived, again only where a restart forces it, by the same key."""
    commit(disk, collector)
    disk.fill()
    before = Counter(accepted(collector))
    for lives in (1, 2):
        disk.once()
        assert wire.serials(collector.events()) == list(range(N))
        assert max((accepted(collector) - before).values()) <= lives
    disk.free()
    assert disk.once().returncode == 0
    assert len(collector.accepted) == N
    assert max((accepted(collector) - before).values()) <= 3
    assert homes.unsent_files(disk.seen) == []
    assert archived(disk.seen) == sorted(collector.accepted.values())


def test_a_sidecar_that_lives_through_it(disk: Disk, collector: Collector) -> None:
    """On demand: each body is sent once, and archived as soon as there is space."""
    commit(disk, collector)
    before = Counter(accepted(collector))
    disk.fill()
    code = (
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-P', '-m', 'flwr_telemetryd'], "
        "start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, "
        "stderr=subprocess.DEVNULL)"
    )
    assert disk.zygote.python(disk.home, code).returncode == 0
    processes.wait_for_count(lambda: collector.accepted, N)
    told = processes.wait_until(
        lambda: disk.zygote.status(disk.home)["hosts"][0]["sidecar"]["alive"], what="a sidecar that runs"
    )
    assert told
    disk.free()
    processes.wait_for_end(disk.home)
    assert set((accepted(collector) - before).values()) == {1}
    assert homes.unsent_files(disk.seen) == []
    assert archived(disk.seen) == sorted(collector.accepted.values())


def test_commands_on_a_full_disk(disk: Disk, collector: Collector) -> None:
    """`status` says that the disk is full, and `inspect` shows what waits."""
    commit(disk, collector)
    disk.fill()
    assert any("full" in problem for problem in disk.zygote.status(disk.home)["problems"])
    shown = disk.zygote.command(disk.home, "inspect", "--json")
    assert (shown.returncode, len(shown.stdout.splitlines())) == (0, N)


LIMIT = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))"


@pytest.mark.parametrize("most", [0, 1, 100, 600, 900, 2000, 5000])
@pytest.mark.parametrize("bursts", [True, False])
def test_files_that_may_not_grow(
    zygote: Zygote, home: Path, collector: Collector, most: int, bursts: bool
) -> None:
    """The same by a limit on the size of files, where no disk can be mounted: nothing lost, nothing twice."""
    homes.configure(home, collector.url, bursts=bursts)
    homes.put(home, records.series(N))
    for lives in (1, 2):
        zygote.once(home, before=LIMIT.format(most), logs=False)
        assert max(accepted(collector).values(), default=0) <= lives
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == list(range(N))
    assert homes.unsent_files(home) == []
    assert archived(home) == sorted(collector.accepted.values())


@pytest.mark.parametrize("most", [0, 100, 900])
def test_a_log_that_cannot_be_written(zygote: Zygote, home: Path, collector: Collector, most: int) -> None:
    """Where the disk is full the sidecar does not fill standard error with tracebacks of its own log."""
    homes.configure(home, collector.url, bursts=False)
    homes.put(home, records.series(N))
    zygote.once(home, before=LIMIT.format(most))


def test_the_disk_of_these_tests_is_full(disk: Disk) -> None:
    """The tests above test something."""
    disk.fill()
    with pytest.raises(OSError, match="No space") as caught:
        (disk.seen.parent / "one-more").write_bytes(b"x")
    assert caught.value.errno == errno.ENOSPC
