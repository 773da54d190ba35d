"""Section 2, the directory: what lies where, under which mode, and what never appears."""

from __future__ import annotations

import os
import platform
import stat
from typing import TYPE_CHECKING

import pytest

from tests.support import homes, processes, records
from tests.support.processes import NEVER, workload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.collector import Collector


def _assert_private(home: Path) -> None:
    top = homes.telemetry(home)
    modes = homes.stable(lambda: {path: path.lstat().st_mode for path in (top, *homes.find(top, "**/*"))})
    for path, mode in modes.items():
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), f"{path}: {mode:o}"


def test_an_event_makes_the_source_and_one_open_segment(home: Path) -> None:
    """The first event leaves the source, the open segment, their directories, and nothing half made."""
    processes.spool_events(home)
    assert {path.name for path in home.iterdir()} == {"source", "telemetry"}
    assert {path.name for path in homes.spool(home).iterdir()} == {"events.msgpack"}
    assert homes.open_segment(home).is_file()


def test_all_processes_of_a_host_append_to_one_segment(home: Path) -> None:
    """Two workloads write one file."""
    processes.spool_events(home, 2)
    processes.spool_events(home, 3)
    assert len(homes.segments(home)) == 1
    assert len(homes.spooled(home)) == 5


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids="{:03o}".format)
def test_the_emitter_keeps_everything_private_whatever_the_umask(home: Path, umask: int) -> None:
    """Every directory is 0700 and every file 0600 under any umask."""
    home.mkdir()
    workload(home, f"os.umask({umask})\nassert outcome(event('PING')) == 'spooled'", NEVER)
    _assert_private(home)


@pytest.mark.parametrize("umask", [0o000, 0o777], ids="{:03o}".format)
def test_the_sidecar_keeps_everything_private_whatever_the_umask(
    home: Path, collector: Collector, umask: int
) -> None:
    """Archive, rejected bodies, damage, lock and log are as private as the spool, whatever the umask."""
    homes.configure(home, collector.url, bursts=False)
    homes.put_bytes(home, b"no record" + b"".join(map(records.encode, records.series(2))))
    collector.answer_with(200, 422)
    processes.deliver(home, umask=umask)
    present = {path.name for path in homes.host(home).iterdir()}
    assert {"sent", "rejected", "damaged", "sidecar.lock", "sidecar.json"} <= present
    _assert_private(home)


def test_a_running_sidecar_keeps_everything_private(home: Path, collector: Collector) -> None:
    """What a sidecar on demand writes while it retries is private too, under umask 0."""
    homes.configure(home, collector.url)
    collector.answer_by(lambda _request: 503)
    workload(home, "os.umask(0)\nassert outcome(event('PING')) == 'spooled'")
    processes.wait_until(lambda: len(collector.requests) >= 2)
    assert homes.waiting(home)
    _assert_private(home)


def test_the_host_directory_is_named_after_the_node(home: Path) -> None:
    """`<host>` is the node name, each character outside [A-Za-z0-9_-] an underscore, at most 64 of them."""
    processes.spool_events(home)
    assert [path.name for path in homes.telemetry(home).iterdir() if path.is_dir()] == [homes.host_name()]


@pytest.mark.parametrize(
    ("node", "directory"),
    [("node-7.cluster.example", "node-7_cluster_example"), ("a" * 64, "a" * 64), ("..", "__")],
)
def test_odd_node_names_make_safe_directories(home: Path, node: str, directory: str) -> None:
    """A node name with dots, or of full length, names a directory and nothing else."""
    setup = f"""
    import os, platform, socket
    real = os.uname()
    fake = os.uname_result((real.sysname, {node!r}, real.release, real.version, real.machine))
    os.uname = lambda: fake
    platform.node = lambda: {node!r}
    socket.gethostname = lambda: {node!r}
    """
    code = (
        "\n".join(line.strip() for line in setup.splitlines())
        + "\nassert outcome(event('PING')) == 'spooled'"
    )
    workload(home, code, NEVER)
    assert [path.name for path in homes.telemetry(home).iterdir() if path.is_dir()] == [directory]


def test_without_flwr_home_the_directory_is_in_the_users_home(home: Path) -> None:
    """FLWR_HOME names the directory itself; its default is ~/.flwr."""
    workload(home, "assert outcome(event('PING')) == 'spooled'", {**NEVER, "FLWR_HOME": None})
    assert home.name == ".flwr"
    assert len(homes.spooled(home)) == 1


def test_an_empty_outbox_and_spool_remain_after_delivery(home: Path, collector: Collector) -> None:
    """After delivery nothing unsent is left, the lock file stays, and the body is in the archive."""
    homes.configure(home, collector.url)
    processes.spool_events(home, 3)
    processes.deliver(home)
    assert homes.unsent_files(home) == []
    assert (homes.host(home) / "sidecar.lock").exists()
    assert sorted(homes.sent(home)) == sorted(collector.accepted.values())


def test_only_documented_names_appear(home: Path, collector: Collector) -> None:
    """A full round leaves no name that the layout does not list."""
    homes.configure(home, collector.url)
    collector.answer_with(503, 422)
    processes.emit(home)
    processes.wait_until(lambda: homes.rejected(home))
    processes.emit(home)
    processes.wait_until(lambda: homes.sent(home))
    processes.wait_for_end(home)
    documented = {
        *("spool", "work", "outbox", "sent", "rejected", "damaged", "dropped"),
        *("not-before", "sidecar.lock", "sidecar.json", "sidecar.log"),
    }
    assert {path.name for path in homes.host(home).iterdir()} <= documented
    assert {path.name for path in homes.telemetry(home).iterdir()} == {"config.toml", homes.host_name()}


def test_a_symlink_in_place_of_the_segment_is_not_followed(home: Path, tmp_path: Path) -> None:
    """The segment is opened with O_NOFOLLOW: the event fails, and the link's target stays as it was."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    homes.put(home, [])
    homes.open_segment(home).unlink()
    homes.open_segment(home).symlink_to(victim)
    (told,) = processes.outcomes(home, ["'PING'"], NEVER)
    assert told.startswith("flwr_telemetry.")
    assert victim.read_bytes() == b"precious"


def test_nothing_is_written_outside_the_home(home: Path, collector: Collector, tmp_path: Path) -> None:
    """No file is left in the user's home, the working directory or the place for temporary files."""
    user_home, elsewhere, temporary = home.parent, tmp_path / "cwd", tmp_path / "tmp"
    elsewhere.mkdir()
    temporary.mkdir()
    homes.configure(home, collector.url)
    env = {"TMPDIR": str(temporary)}
    assert workload(home, "print(outcome(event('PING')))", env, cwd=elsewhere).stdout == "spooled\n"
    processes.wait_until(lambda: homes.sent(home))
    processes.wait_for_end(home)
    assert [path.name for path in user_home.iterdir()] == [".flwr"]
    assert list(elsewhere.iterdir()) == []
    assert list(temporary.iterdir()) == []


def test_the_node_name_is_what_platform_says() -> None:
    """The test tools and the design speak of the same node name."""
    assert platform.node() == os.uname().nodename
