"""The home, its locks, the clock and the sidecar, as the doctor sees them."""

import errno
import itertools
import os

import pytest

from flwr_telemetry import settings
from flwr_telemetry.layout import Home
from flwr_telemetry.locks import LockResult
from flwr_telemetryd.admin.doctor import Verdict, examine, here
from flwr_telemetryd.clock import Clock
from tests.support import faults, homes, records


def now(home, environ=None):
    return settings.load(Home(home), environ or {}, site_file=home / "none")


def locks(home):
    return here.locks(Home(home))


def test_locks_that_work_or_are_refused(home, monkeypatch):
    """Locks that are refused, as on a network file system, are no fault."""
    homes.put(home, records.series(1))
    before = homes.tree(home)
    found = locks(home)
    assert (found.verdict, found.advice) == (Verdict.OK, "")
    assert homes.tree(home) == before
    faults.no_locks(monkeypatch)
    assert locks(home).verdict is Verdict.NOTE


@pytest.mark.parametrize(
    "results", [*itertools.permutations([LockResult.HELD, LockResult.HELD, LockResult.UNSUPPORTED], 2)]
)
def test_locks_that_do_not_hold(home, results, monkeypatch):
    homes.put(home, records.series(1))
    answers = iter(results)
    monkeypatch.setattr(here, "try_exclusive", lambda _descriptor: next(answers))
    found = locks(home)
    assert found.verdict is Verdict.NOTE
    assert "sidecar" in found.advice


def test_a_home_that_cannot_be_written_to(home, monkeypatch):
    homes.put(home, records.series(1))
    real = os.open

    def refuse(path, *arguments, **options):
        if "doctor" in str(path):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    found = [locks(home), here.clock(Home(home), Clock())]
    assert [check.verdict for check in found] == [Verdict.FAULT] * 2
    assert all("read-only" in check.found.lower() for check in found)


@pytest.mark.parametrize(
    ("ahead_s", "verdict"),
    [(0, Verdict.OK), (3000, Verdict.OK), (4000, Verdict.FAULT), (-4000, Verdict.FAULT)],
)
def test_two_clocks(home, ahead_s, verdict):
    homes.put(home, records.series(1))
    clock = Clock()
    ahead = Clock(time_ns=lambda: clock.time_ns() + ahead_s * 10**9)
    assert here.clock(Home(home), ahead).verdict is verdict


@pytest.mark.parametrize(
    ("state", "settings_text", "env", "verdict", "word"),
    [
        ("{}", "", {}, Verdict.OK, "the next event starts one"),
        ("{}", 'sidecar = "never"', {}, Verdict.NOTE, "sidecar = never"),
        ("{}", "", {"SLURM_JOB_ID": "7"}, Verdict.NOTE, "batch job"),
        ("{}", 'sidecar = "always"', {"SLURM_JOB_ID": "7"}, Verdict.OK, "the next event starts one"),
        ("{}", 'sidecar = "never"', {"DO_NOT_TRACK": "1"}, Verdict.OK, "none runs"),
        ('{"last_error": "no answer"}', "", {}, Verdict.NOTE, "no answer"),
    ],
)
def test_who_delivers(home, state, settings_text, env, verdict, word):
    homes.put(home, [])
    homes.write_settings(home, settings_text)
    (homes.host(home) / "sidecar.json").write_text(state)
    found = here.sidecar(Home(home), now(home, env), env)
    assert found.verdict is verdict
    assert word in found.found


def test_who_serves_the_home(home):
    """Off is no fault, but a file that nobody understands is."""
    assert here.telemetry(now(home, {"DO_NOT_TRACK": "1"})).verdict is Verdict.NOTE
    assert here.sidecar(Home(home), now(home), {}).found.startswith("none runs")
    assert not home.exists()
    homes.put(home, records.series(1))
    (homes.telemetry(home) / "service-login1.json").write_text("{}")
    assert "serves this home" in here.sidecar(Home(home), now(home), {}).found
    homes.age(homes.put(home, records.series(1)), 1200)
    homes.age(Home(home).heartbeat("login1"), 600)
    assert "the next event starts one" in here.sidecar(Home(home), now(home), {}).found
    homes.write_settings(home, "enabled = maybe")
    assert here.telemetry(now(home)).verdict is Verdict.FAULT


@pytest.mark.parametrize("what", ["telemetry", "host"])
def test_nothing_is_tried_behind_a_link(home, tmp_path, what):
    homes.configure(home, (tmp_path / "bodies.jsonl").as_uri())
    homes.put(home, records.series(1))
    place = homes.telemetry(home) if what == "telemetry" else homes.host(home)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").stat().st_mtime_ns
    found = {check.name: check for check in examine(Home(home), {}, Clock())}
    assert found["home"].verdict is Verdict.FAULT
    assert {found[name].verdict for name in ("locks", "clock")} == {Verdict.SKIPPED}
    assert "next event" not in found["sidecar"].found
    assert (tmp_path / "elsewhere").stat().st_mtime_ns == before


def test_nobody_is_told_to_remove_what_is_somebody_elses(home, monkeypatch):
    homes.put(home, records.series(1))
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(home).st_uid + 1)
    found = [check for check in examine(Home(home), {}, Clock()) if check.name == "home"]
    assert [check.verdict for check in found] == [Verdict.NOTE]
    assert "another user" in found[0].found


@pytest.mark.parametrize("word", ["none", "sometimes"])
def test_a_word_that_says_nothing_of_a_sidecar_is_told(home, word):
    homes.put(home, records.series(1))
    environ = {"FLWR_TELEMETRY_SIDECAR": word}
    found = here.sidecar(Home(home), now(home, environ), environ)
    assert found.verdict is Verdict.NOTE
    assert f"'{word}', which counts as not set" in found.found
