"""The directories of a home: which are hosts, which are safe, and what is in them."""

import contextlib
import os

import pytest

from flwr_telemetry import system
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetryd.spool import directory
from tests.support import faults, homes, records


@pytest.mark.parametrize("name", ["node7", "_", "x" * 64, "service-node"])
def test_every_directory_is_a_host(home, name):
    """A link to a directory is reported, because it may have been a host. A missing home has no hosts."""
    homes.configure(home)
    homes.put(home, records.series(1), host_of=name)
    host = Home(home).host(name)
    Home(home).heartbeat("x").write_text("{}")
    (host.telemetry / ".renamed").mkdir()
    link = host.telemetry / "link"
    link.symlink_to(host.root)
    (host.telemetry / "broken").symlink_to("nowhere")
    assert directory.known_hosts(Home(home)) == [host]
    assert directory.foreign_host_entries(Home(home)) == [f"{link} is a link or no directory; remove it"]
    assert directory.known_hosts(Home(home / "none")) == []


@pytest.mark.parametrize("name", ["root", "spool", "work", "outbox", "sent", "rejected", "damaged"])
@pytest.mark.parametrize("harm", ["writable", "link", "file"])
def test_every_directory_of_a_host_is_checked(host, tmp_path, name, harm):
    place = getattr(host, name)
    assert directory.is_ours(host)
    if name == "root":
        place.rmdir()
    {"link": lambda: place.symlink_to(tmp_path), "file": place.touch, "writable": place.mkdir}[harm]()
    if harm == "writable":
        place.chmod(0o777)
    with pytest.raises(TelemetryError, match=str(place)):
        directory.check_ownership(host)
    assert not directory.is_ours(host)
    with pytest.raises(TelemetryError) if name == "root" else contextlib.nullcontext():
        directory.check_root(host)


def test_a_rename_that_was_repeated_is_found_past_the_cache_of_names(tmp_path, monkeypatch):
    """The client may remember that the target was missing before. A refused sync is no error."""
    before = faults.descriptors()
    faults.fail_once(monkeypatch, "fsync", 22)
    system.fsync_directory(tmp_path)
    assert faults.descriptors() == before
    (tmp_path / "old").touch()
    monkeypatch.setattr(os.path, "lexists", lambda _path: False)
    for _ in range(2):  # NFS repeats it
        directory.rename(tmp_path / "old", tmp_path / "new")
    with pytest.raises(FileNotFoundError):
        directory.rename(tmp_path / "old", tmp_path / "none")
