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
PAST = "damaged/d.bin dropped rejected/k.json sent/2026-11-22.jsonl sidecar.json sidecar.lock".split()


@pytest.fixture
def host(home):
    return filled(Home(home).host())


def filled(host):
    for name in (*UNSENT, *PAST):
        path = host.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return host


def left(host):
    return sorted(str(path.relative_to(host.root)) for path in host.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("other", ["node7", "service-node"])
def test_what_was_not_sent_goes_on_every_host(home, host, other, monkeypatch):
    """A purge that died between the rename and the deletion is finished by the next."""
    hosts = [host, filled(Home(home).host(other))]
    (home / "source").write_text("x")
    homes.write_settings(home, "enabled = false\n")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # it never came to that
    purge.unsent(Home(home))
    monkeypatch.undo()
    for _ in range(2):
        purge.unsent(Home(home))
        assert [left(each) for each in hosts] == [PAST] * 2
    assert (home / "source").exists()
    assert Home(home).config.exists()


@pytest.mark.parametrize("kind", ["fifo", "file", "link", "socket"])
@pytest.mark.parametrize("name", ["spool", "work", "rejected"])
def test_what_is_no_directory_goes_too(home, host, tmp_path, name, kind):
    """It is not opened, because a FIFO would block. A link is not followed. Files of others stay."""
    place = getattr(host, name)
    shutil.rmtree(place)
    for other in (".sidecar.json.77.part", "of-another"):
        (host.root / other).touch()
    {
        "fifo": lambda: os.mkfifo(place),
        "file": place.touch,
        "link": lambda: place.symlink_to(tmp_path),
        "socket": lambda: os.mknod(place, 0o600 | stat.S_IFSOCK),
    }[kind]()
    assert purge.everything_but_sent(Home(home)) == []
    assert left(host) == ["of-another", "sent/2026-11-22.jsonl", "sidecar.lock"]
    assert sorted(path.name for path in host.root.iterdir()) == ["of-another", "sent", "sidecar.lock"]


@pytest.mark.parametrize("name", ["telemetry", "root"])
def test_a_purge_stays_in_its_own_home(home, host, tmp_path, name):
    """Through a link in a directory's place nothing is deleted. Other hosts are purged; it is reported."""
    other = filled(Home(home).host("n2"))
    place = getattr(host, name)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    before = homes.tree(tmp_path / "elsewhere")
    purge.unsent(Home(home))
    assert homes.tree(tmp_path / "elsewhere") == before
    if name == "root":
        assert left(other) == PAST
        (problem,) = purge.everything_but_sent(Home(home))
        assert str(host.root) in problem


@pytest.mark.parametrize(
    ("site", "user", "purged"),
    [
        *((site, "enabled = false", True) for site in ("", "enabled = true")),
        *((site, "enabled = false", False) for site in ("enabled = false", "enabled = maybe")),
        *(("", user, False) for user in ("enabled = maybe", "", "enabled = true", "of another user")),
        ("enabled = false", "", False),
    ],
)
def test_only_the_users_own_opt_out_deletes(home, host, tmp_path, site, user, purged):
    """An opt-out of the site, an opt-in, a malformed file and another user's process purge nothing."""
    (tmp_path / "site.toml").write_text(site)
    is_other = user == "of another user"
    homes.write_settings(home, "" if is_other else user)
    with mock.patch("os.geteuid", return_value=os.geteuid() + is_other):
        consent = settings.load(Home(home), None, site_file=tmp_path / "site.toml").consent
    assert not (is_other and consent.enabled)
    purge.if_asked(Home(home), consent)
    assert left(host) == (PAST if purged else sorted([*UNSENT, *PAST]))
