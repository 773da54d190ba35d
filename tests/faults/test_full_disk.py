"""A disk that is really full: nothing that was told to be kept is lost or doubled, and a no is a no.

The file systems are real, and without space, inodes or rights.
"""

import contextlib
import json
import shutil
import subprocess
from collections import Counter

import pytest

from tests.support import homes, processes, records, wire
from tests.support.commands import answer_of

N = 12
MINE, OTHER = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1", "11111111-1111-4111-8111-111111111111"
FULL = {"no space": "size=1m", "no inode": "size=4m,nr_inodes=60"}


class Disk:
    """A home on a small disk of its own, which only its zygote and the processes that it forks see."""

    def __init__(self, zygote, home, options):
        self.zygote, self.home = zygote, home
        zygote.shell(home, f"mount -t tmpfs -o {options},mode=700 none {home.parent}")
        self.root = zygote.root / str(home.parent)[1:]
        self.seen = self.root / home.name

    def fill(self, inodes=1000):
        """Take all that is left: inodes first, then space to the last byte."""
        with contextlib.suppress(OSError):
            for name in ("filler", *map(str, range(inodes))):
                (self.root / name).touch()
        for size in (4096, 1):
            with contextlib.suppress(OSError), (self.root / "filler").open("ab", buffering=0) as filler:
                while filler.write(bytes(size)):
                    pass

    def free(self):
        (self.root / "filler").unlink()

    def once(self):
        return self.zygote.once(self.home)

    def tell(self, *words):
        done = self.zygote.command(self.home, *words)
        return done, self.zygote.status(self.home)["enabled"]


@pytest.fixture(params=["size=1m"])
def disk(request, apart, home):
    return Disk(apart, home, request.param)


full_in_each_way = pytest.mark.parametrize("disk", FULL.values(), ids=FULL, indirect=True)


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
    disk.fill(inodes=0)
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
    disk.fill(inodes=0)
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
    disk.fill(inodes=0)
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
    disk.fill(inodes=0)
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


@full_in_each_way
@pytest.mark.parametrize("settings", [None, "bursts = true\n", "enabled = true\n", "enabled = maybe\n"])
def test_disable(disk, settings):
    """What waits is deleted, and the opt-out takes its place, whether there was a settings file or not."""
    if settings is not None:
        homes.write_settings(disk.seen, settings)
    homes.put(disk.seen, records.series(30))
    homes.put(disk.seen, records.series(5), host_of="node-7")
    disk.fill()
    done, is_on = disk.tell("disable", "--json")
    assert (done.returncode, is_on) == (0, False), done.said
    assert json.loads(done.stdout)["purged"]["events"] == 35
    assert homes.unsent_files(disk.seen) == []


@full_in_each_way
def test_disable_where_nothing_of_ours_can_make_room(disk):
    """The command says that telemetry is still on, and which line switches it off without a file."""
    disk.seen.mkdir(mode=0o700)
    disk.fill()
    done, is_on = disk.tell("disable")
    assert (done.returncode, is_on) == (5, True)
    assert "could not be written" in done.stderr
    assert "`export FLWR_TELEMETRY_ENABLED=0`" in done.stderr


@full_in_each_way
@pytest.mark.parametrize("room", [0, 1])
def test_forget(disk, room):
    """The ID is noted and all that carries it goes; what waited of others is counted."""
    homes.write_settings(disk.seen, "bursts = true\n")
    of_mine, of_others = (records.series(20, source=source) for source in (MINE, OTHER))
    homes.put(disk.seen, [*of_mine, *of_others])
    sent = homes.host(disk.seen) / "sent"
    sent.mkdir(mode=0o700)
    (sent / "2026-11-22.jsonl").write_text(json.dumps({"context": {"source": MINE}}) + "\n")
    (disk.seen / "source").write_text(MINE)
    if room:  # for the note, but for no batch
        (homes.telemetry(disk.seen) / "forgotten").write_text("0" * 64 + "\n")
        (homes.telemetry(disk.seen) / "forgetting").write_text(MINE)
    disk.fill()
    done, is_on = disk.tell("forget", "--yes", "--json")
    assert (done.returncode, is_on) == (0, True), done.said
    deleted = json.loads(done.stdout)["deleted"]
    assert (deleted["spool"], deleted["sent"]) == (20, 1)
    assert deleted.get("others", 0) in {0, 20}
    assert not [name for name, data in homes.contents(disk.seen).items() if MINE.encode() in data]
    assert (deleted.get("others") == 20) is (homes.unsent_files(disk.seen) == [])


@full_in_each_way
def test_a_home_that_became_read_only(disk):
    """Nothing can be written or deleted, so no sidecar can send either; the command says all that."""
    homes.write_settings(disk.seen, "bursts = true\n")
    homes.put(disk.seen, records.series(3))
    disk.zygote.shell(disk.home, f"mount -o remount,ro {disk.home.parent}")
    done, is_on = disk.tell("disable")
    assert (done.returncode, is_on) == (5, True)
    assert "Not all of 3 waiting events could be deleted." in done.stdout
    for words in ("could not be written", "read-only", "`export FLWR_TELEMETRY_ENABLED=0`"):
        assert words in done.stderr
    assert disk.zygote.once(disk.home).returncode == 5


@pytest.mark.parametrize("place", ["telemetry", "telemetry/config.toml"])
def test_what_is_immutable(home, place, tmp_path):
    """A directory: the file in it is written over. A file: what waits goes, and the command says so."""
    homes.write_settings(home, "bursts = true\n")
    homes.put(home, records.series(3))
    if not shutil.which("chattr") or subprocess.run(["chattr", "+i", home / place], check=False).returncode:
        pytest.skip("this file system, or this user, has no immutable files")
    try:
        if place == "telemetry":
            assert answer_of(home, "disable")["enabled"] is False
        else:
            assert answer_of(home, "disable", code=5)["enabled"] is True
    finally:
        subprocess.run(["chattr", "-i", home / place], check=True)
    assert homes.unsent_files(home) == []
