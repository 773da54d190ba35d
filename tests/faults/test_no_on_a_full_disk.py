"""A person says no, and the disk refuses every write: real file systems without space, inodes or rights."""

import contextlib
import json
import shutil
import subprocess

import pytest

from tests.support import homes, records
from tests.support.commands import answer_of

MINE, OTHER = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1", "11111111-1111-4111-8111-111111111111"
FULL = {"no space": "size=1m", "no inode": "size=4m,nr_inodes=60"}


class Disk:
    """A home on a small disk of its own, which only its zygote and the processes that it forks see."""

    def __init__(self, zygote, home, options):
        self.zygote, self.home = zygote, home
        zygote.shell(home, f"mount -t tmpfs -o {options},mode=700 none {home.parent}")
        self.root = zygote.root / str(home.parent)[1:]
        self.seen = self.root / home.name

    def fill(self):
        """Take all that is left: inodes first, then space to the last byte."""
        with contextlib.suppress(OSError):
            for number in range(1000):
                (self.root / f"inode{number}").touch()
        for size in (4096, 1):
            with contextlib.suppress(OSError), (self.root / "inode0").open("ab", buffering=0) as filler:
                while filler.write(bytes(size)):
                    pass

    def tell(self, *words):
        done = self.zygote.command(self.home, *words)
        return done, self.zygote.status(self.home)["enabled"]


@pytest.fixture(params=FULL.values(), ids=FULL)
def disk(request, apart, home):
    return Disk(apart, home, request.param)


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


def test_disable_where_nothing_of_ours_can_make_room(disk):
    """The command says that telemetry is still on, and which line switches it off without a file."""
    disk.seen.mkdir(mode=0o700)
    disk.fill()
    done, is_on = disk.tell("disable")
    assert (done.returncode, is_on) == (5, True)
    assert "could not be written" in done.stderr
    assert "`export FLWR_TELEMETRY_ENABLED=0`" in done.stderr


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
