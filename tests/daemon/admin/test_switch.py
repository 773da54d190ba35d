"""Off and on for good, and what becomes of what waits and of a sidecar that runs."""

import os

import pytest

from flwr_telemetry import settings
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.switch import disable
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.outbox import purge
from tests.support import homes, processes, records


@pytest.mark.parametrize(
    "place", ["spool/events.msgpack", "spool/sealed-0-aa.msgpack", "outbox/1/k.json", "work"]
)
@pytest.mark.parametrize("kind", ["fifo", "loop", "directory"])
def test_no_other_kind_of_file_keeps_the_opt_out_from_being_written(home, place, kind):
    homes.put(home, records.series(2), host_of="node7")
    path = homes.host(home) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    for directory in (path.parent, homes.host(home)):
        directory.chmod(0o700)
    {"fifo": os.mkfifo, "loop": lambda path: path.symlink_to(path), "directory": os.mkdir}[kind](path)
    done = disable(Home(home), Clock())
    assert not settings.load(Home(home), None).consent.enabled
    assert (done.purged.events, done.problems) == (2, [])
    assert homes.unsent_files(home) == []


def test_many_files_do_not_delay_the_opt_out(home):
    for name in ("sealed-1-aa.msgpack", "sealed-2-aa.msgpack"):
        homes.put(home, records.series(2), name=name)
    now = iter([0.0, 0.1, *range(1, 1000)])
    done = disable(Home(home), Clock(monotonic=lambda: float(next(now)), sleep=lambda _: None))
    assert done.purged.events == 2
    assert homes.unsent_files(home) == []


def test_a_writer_that_had_read_the_opt_in_is_purged_too(home, monkeypatch):
    """It made its spool after the opt-out was written, and after the first purge."""
    homes.put(home, records.series(1))
    sweep, swept = purge.everything_but_sent, []

    def late(of):
        problems = sweep(of)
        if not swept:
            swept.append(homes.put(home, records.series(1)))
        return problems

    monkeypatch.setattr(purge, "everything_but_sent", late)
    disable(Home(home), Clock())
    assert (len(swept), homes.unsent_files(home)) == (1, [])


@pytest.mark.parametrize("directory", ["", "spool"])
def test_an_unsafe_directory_does_not_keep_the_opt_out_from_being_written(home, directory):
    homes.put(home, records.series(1))
    homes.put(home, records.series(1), host_of="node7")
    (homes.host(home) / directory).chmod(0o777)
    done = disable(Home(home), Clock())
    assert not settings.load(Home(home), None).consent.enabled
    assert not (homes.host(home, "node7") / "spool").exists()
    assert bool(done.problems) is (directory == "")
    told = processes.command(home, "disable")
    assert told.returncode == (5 if directory == "" else 0)
    assert "chmod 700" in told.stderr or directory
