"""The directories of a home: which are hosts, which are safe, and what is in them."""

import pytest

from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetryd.spool import directory
from tests.support import faults, homes, records


@pytest.mark.parametrize("name", ["node7", "_", "x" * 64, "service-node"])
def test_every_directory_is_a_host(home, name):
    homes.put(home, records.series(1), host_of=name)
    assert directory.known_hosts(Home(home)) == [Home(home).host(name)]


def test_files_links_and_hidden_directories_are_no_hosts(home, host):
    """A link to a directory is reported, because it may have been a host. A missing home has no hosts."""
    homes.configure(home)
    Home(home).heartbeat("x").write_text("{}")
    (host.telemetry / ".renamed").mkdir()
    link = host.telemetry / "link"
    link.symlink_to(host.root)
    (host.telemetry / "broken").symlink_to("nowhere")
    assert directory.known_hosts(Home(home)) == [host]
    (problem,) = directory.foreign_host_entries(Home(home))
    assert problem == f"{link} is a link or no directory; remove it"
    assert directory.known_hosts(Home(home / "none")) == []


@pytest.mark.parametrize("name", ["spool", "work", "outbox", "sent", "rejected", "damaged"])
@pytest.mark.parametrize("harm", ["writable", "link", "file"])
def test_every_directory_of_a_host_is_checked(home, host, tmp_path, name, harm):
    place = getattr(host, name)
    assert directory.is_ours(host)
    if harm == "link":
        place.symlink_to(tmp_path)
    elif harm == "file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777)
    with pytest.raises(TelemetryError, match=str(place)):
        directory.check_ownership(host)
    assert not directory.is_ours(host)
    directory.check_root(host)


def test_an_unsafe_host_is_refused(host):
    host.root.chmod(0o777)
    with pytest.raises(TelemetryError, match="chmod 700"):
        directory.check_root(host)


def test_a_missing_directory_holds_nothing(host):
    (host.root / "file").touch()
    assert directory.listing(host.work) == directory.listing(host.root / "file") == []
    assert directory.listing(host.root) == [host.root / "file"]


def test_a_rename_that_is_repeated_succeeds(tmp_path):
    """NFS repeats it if the answer was lost. If neither name is there, another sidecar has the file."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    for _ in range(2):
        directory.rename(old, new)
    new.unlink()
    with pytest.raises(FileNotFoundError):
        directory.rename(old, new)


def test_a_directory_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    """Some network file systems refuse it."""
    before = faults.descriptors()
    faults.fail_once(monkeypatch, "fsync", 22)
    directory.fsync_directory(tmp_path)
    assert faults.descriptors() == before
