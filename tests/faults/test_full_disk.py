"""A disk that is really full: nothing that was told to be kept is lost, and nothing counts twice."""

import contextlib
from collections import Counter

import pytest

from tests.support import homes, processes, records, wire

N = 12


class Disk:
    """A home on a small disk of its own, which only its zygote and the processes that it forks see."""

    def __init__(self, zygote, home):
        self.zygote = zygote
        self.home = home
        zygote.shell(home, f"mount -t tmpfs -o size=1m,mode=700 none {home.parent}")
        self._disk = zygote.root / str(home.parent)[1:]
        self.seen = self._disk / home.name

    def fill(self):
        with contextlib.suppress(OSError), (self._disk / "filler").open("ab", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass

    def free(self):
        (self._disk / "filler").unlink()

    def once(self):
        return self.zygote.once(self.home)


@pytest.fixture
def disk(apart, home):
    return Disk(apart, home)


def accepted(collector):
    """Give how often each key was sent since the last failure; all of these were accepted."""
    return Counter(request.key for request in collector.requests)


def check_archive(home, collector):
    """Nothing is left, and the archive holds all bodies; a line that was torn there is none."""
    assert homes.unsent_files(home) == []
    bodies = [line for line in homes.sent(home) if line.endswith(b"}") and wire.expand(line)]
    assert sorted(bodies) == sorted(collector.accepted.values())


def commit(disk, collector):
    """Let N bodies wait in the outbox, as a collector that is down leaves them."""
    homes.configure(disk.seen, collector.url, bursts=False)
    homes.put(disk.seen, records.series(N))
    collector.answer_with(503)
    assert disk.once().returncode == 1
    assert len(homes.waiting(disk.seen)) == N
    assert collector.accepted == {}


def test_a_process_that_began_on_a_full_disk(disk):
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
def test_what_is_spooled_stays(disk, collector, bursts):
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


def test_what_is_committed_is_delivered(disk, collector):
    """Bodies are sent although nothing can be archived; a restart sends them again under the same key."""
    commit(disk, collector)
    disk.fill()
    assert any("full" in problem for problem in disk.zygote.status(disk.home)["problems"])
    shown = disk.zygote.command(disk.home, "inspect", "--json")
    assert (shown.returncode, len(shown.stdout.splitlines())) == (0, N)
    before = accepted(collector)
    for sidecars in (1, 2):
        disk.once()
        assert wire.serials(collector.events()) == list(range(N))
        assert max((accepted(collector) - before).values()) <= sidecars
    disk.free()
    assert disk.once().returncode == 0
    assert len(collector.accepted) == N
    assert max((accepted(collector) - before).values()) <= 3
    check_archive(disk.seen, collector)


def test_a_sidecar_that_lives_through_it(disk, collector):
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
    processes.wait_until(lambda: disk.zygote.status(disk.home)["hosts"][0]["sidecar"]["alive"])
    disk.free()
    processes.wait_for_end(disk.home)
    assert set((accepted(collector) - before).values()) == {1}
    check_archive(disk.seen, collector)


LIMIT = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))"


@pytest.mark.parametrize("most", [0, 1, 100, 600, 900, 2000, 5000])
@pytest.mark.parametrize("bursts", [True, False])
def test_files_that_may_not_grow(zygote, home, collector, most, bursts):
    """The same by a limit on the size of files: no event is lost, and none counts twice."""
    homes.configure(home, collector.url, bursts=bursts)
    homes.put(home, records.series(N))
    for sidecars in (1, 2):
        zygote.once(home, before=LIMIT.format(most))
        assert max(accepted(collector).values(), default=0) <= sidecars
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == list(range(N))
    check_archive(home, collector)
