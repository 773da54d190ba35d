"""Off and on for good, and what becomes of what waits and of a sidecar that runs."""

import os

import pytest

from flwr_telemetry import settings
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.switch import END_WAIT_S, disable, enable
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.errors import UnusableHomeError
from flwr_telemetryd.outbox import purge
from tests.support import homes, processes, records


def test_a_request_in_flight_is_waited_for_and_is_the_last(home, collector):
    homes.configure(home, collector.url, request_deadline_s=50)
    collector.answer_with("hang")
    processes.emit(home, 2)
    processes.wait_for_count(lambda: collector.requests, 1)
    now = [0.0]
    clock = Clock(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    done = disable(Home(home), clock)
    assert (done.sidecar_ended, done.problems) == (False, [])
    assert END_WAIT_S <= now[0] < END_WAIT_S + 1
    assert homes.unsent_files(home) == []
    assert len(collector.requests) == 1


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
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.mkdir()
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


def test_what_cannot_be_deleted_is_told(home, monkeypatch):
    for host in ("n1", "n2"):
        homes.put(home, records.series(1), host_of=host)
    rename = os.rename

    def refuse(path, dst):
        if "n1/spool" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        rename(path, dst)

    monkeypatch.setattr(os, "rename", refuse)
    done = disable(Home(home), Clock())
    (problem,) = done.problems
    assert "n1/spool" in problem
    assert not (homes.host(home, "n2") / "spool").exists()


def test_a_writer_that_had_read_the_opt_in_is_purged_too(home, monkeypatch):
    """It made its spool after the opt-out was written, and after the first purge."""
    homes.put(home, records.series(1))
    sweep = purge.everything_but_sent
    swept = []

    def late(of):
        problems = sweep(of)
        if not swept:
            swept.append(homes.put(home, records.series(1)))
        return problems

    monkeypatch.setattr(purge, "everything_but_sent", late)
    disable(Home(home), Clock())
    assert len(swept) == 1
    assert homes.unsent_files(home) == []


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


def test_a_file_that_cannot_be_edited_is_replaced_by_the_opt_out(home):
    text = 'proxy = """\nenabled = true\n"""\n'
    homes.write_settings(home, text)
    done = disable(Home(home), Clock())
    assert done.old_settings is not None
    assert done.old_settings.read_text() == text
    assert not settings.load(Home(home), None).consent.enabled


@pytest.mark.parametrize("switch", [enable, lambda home: disable(home, Clock())])
def test_another_users_home_is_left_alone(home, switch, monkeypatch):
    """Also by a user who could write there, such as root under sudo."""
    home.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(home).st_uid + 1)
    with pytest.raises(UnusableHomeError, match="another user"):
        switch(Home(home))
    assert homes.tree(home) == []
