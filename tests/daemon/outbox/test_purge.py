"""An opt-out deletes unsent events on every host; sent ones stay."""

import os
import shutil
import stat
from unittest import mock

import pytest

from flwr_telemetry import settings
from flwr_telemetry.layout import Home
from flwr_telemetryd.outbox import purge
from tests.support import homes

UNSENT = ["spool/events.msgpack", "spool/sealed-1-1.msgpack", "work/b.me/s.msgpack", "outbox/b/k.json"]
PAST = [
    "sent/2026-11-22.jsonl",
    "rejected/k.json",
    "damaged/d.bin",
    "dropped",
    "sidecar.lock",
    "sidecar.json",
]


def fill(host):
    for name in (*UNSENT, *PAST):
        path = host.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def left(host):
    return sorted(str(path.relative_to(host.root)) for path in host.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("other", ["node7", "service-node"])
def test_what_was_not_sent_goes_on_every_host(home, other):
    hosts = [Home(home).host(), Home(home).host(other)]
    for host in hosts:
        fill(host)
    (home / "source").write_text("x")
    homes.write_settings(home, "enabled = false\n")
    purge.unsent(Home(home))
    assert [left(host) for host in hosts] == [sorted(PAST)] * 2
    assert (home / "source").exists()
    assert Home(home).config.exists()
    purge.unsent(Home(home))


def test_everything_but_sent_goes(home):
    hosts = [Home(home).host(), Home(home).host("node7")]
    more = ["not-before", "sidecar.log", "sidecar.log.1", ".sidecar.json.77.part", "of-another"]
    for host in hosts:
        fill(host)
        for name in more:
            (host.root / name).write_bytes(b"x")
    for path in (Home(home).heartbeat("gone"), Home(home).config, Home(home).forgotten, home / "source"):
        path.write_bytes(b"x")
    assert purge.everything_but_sent(Home(home)) == []
    kept = ["of-another", "sent/2026-11-22.jsonl", "sidecar.lock"]
    assert [left(host) for host in hosts] == [kept] * 2
    files = [path.name for path in (home, *home.rglob("*")) if path.is_file()]
    assert {"config.toml", "forgotten", "source"} < set(files)
    assert "service-gone.json" not in files


def test_a_purge_that_died_is_finished_by_the_next(home, monkeypatch):
    host = Home(home).host()
    fill(host)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # it never came to that
    purge.unsent(Home(home))
    monkeypatch.undo()
    purge.unsent(Home(home))
    assert left(host) == sorted(PAST)


@pytest.mark.parametrize("kind", ["fifo", "file", "link", "socket"])
@pytest.mark.parametrize("name", ["spool", "work", "rejected"])
def test_what_is_no_directory_goes_too(home, tmp_path, name, kind):
    """It is not opened, because a FIFO would block; nothing is left for a later purge."""
    host = Home(home).host()
    fill(host)
    place = getattr(host, name)
    shutil.rmtree(place, ignore_errors=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "file":
        place.write_text("x")
    elif kind == "link":
        place.symlink_to(tmp_path)
    else:
        os.mknod(place, 0o600 | stat.S_IFSOCK)
    assert purge.everything_but_sent(Home(home)) == []
    assert left(host) == ["sent/2026-11-22.jsonl", "sidecar.lock"]
    assert sorted(path.name for path in host.root.iterdir()) == ["sent", "sidecar.lock"]


def test_a_host_that_is_a_link_is_reported(home, tmp_path):
    """Its target may hold unsent events, but it is not deleted."""
    host = Home(home).host()
    fill(host)
    host.root.rename(tmp_path / "elsewhere")
    host.root.symlink_to(tmp_path / "elsewhere")
    (problem,) = purge.everything_but_sent(Home(home))
    assert str(host.root) in problem


def test_a_link_is_not_followed(home, tmp_path):
    host = Home(home).host()
    fill(host)
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "x").touch()
    shutil.rmtree(host.outbox)
    host.outbox.symlink_to(treasure)
    (host.work / "link").symlink_to(treasure)
    purge.unsent(Home(home))
    assert os.listdir(treasure) == ["x"]


@pytest.mark.parametrize("name", ["telemetry", "root"])
def test_a_purge_stays_in_its_own_home(home, tmp_path, name):
    host = Home(home).host("n1")
    fill(host)
    other = Home(home).host("n2")
    fill(other)
    place = getattr(host, name)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    before = homes.tree(tmp_path / "elsewhere")
    purge.unsent(Home(home))
    assert homes.tree(tmp_path / "elsewhere") == before
    assert name == "telemetry" or left(other) == sorted(PAST)


@pytest.mark.parametrize(
    ("site", "user", "purged"),
    [
        ("", "enabled = false", True),
        ("enabled = true", "enabled = false", True),
        ("enabled = false", "", False),
        ("enabled = false", "enabled = false", False),
        ("", "enabled = maybe", False),
        ("enabled = maybe", "enabled = false", False),
        ("", "", False),
        ("", "enabled = true", False),
    ],
)
def test_only_the_users_own_opt_out_deletes(home, tmp_path, site, user, purged):
    fill(Home(home).host())
    (tmp_path / "site.toml").write_text(site)
    homes.write_settings(home, user)
    consent = settings.load(Home(home), None, site_file=tmp_path / "site.toml").consent
    purge.if_asked(Home(home), consent)
    assert (left(Home(home).host()) == sorted(PAST)) is purged


def test_another_users_process_purges_nothing(home):
    fill(Home(home).host())
    with mock.patch("os.geteuid", return_value=os.geteuid() + 1):
        consent = settings.load(Home(home), None, site_file=home / "none").consent
    assert not consent.enabled
    purge.if_asked(Home(home), consent)
    assert len(left(Home(home).host())) == len(UNSENT) + len(PAST)
