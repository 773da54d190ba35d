"""Section 2, the directory: what lies where, under which mode, and what never appears."""

import stat

import pytest

from tests.support import homes, processes, records
from tests.support.processes import NEVER, workload


def _assert_private(home):
    top = homes.telemetry(home)
    modes = homes.stable(lambda: {path: path.lstat().st_mode for path in (top, *homes.find(top, "**/*"))})
    for path, mode in modes.items() if not homes.WINDOWS else ():
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), f"{path}: {mode:o}"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids="{:03o}".format)
def test_the_emitter_keeps_everything_private_whatever_the_umask(home, umask):
    """Every directory is 0700 and every file 0600 under any umask."""
    home.mkdir()
    workload(home, f"os.umask({umask})\nassert outcome(event('PING')) == 'spooled'", NEVER)
    _assert_private(home)


@pytest.mark.parametrize("umask", [0o000, 0o777], ids="{:03o}".format)
def test_the_sidecar_keeps_everything_private_whatever_the_umask(home, collector, umask):
    """Archive, rejected bodies, damage, lock and log are as private as the spool, whatever the umask."""
    homes.configure(home, collector.url, bursts=False)
    homes.put_bytes(home, b"no record" + b"".join(map(records.encode, records.series(2))))
    collector.answer_with(200, 422)
    processes.deliver(home, umask=umask)
    present = {path.name for path in homes.host(home).iterdir()}
    assert {"sent", "rejected", "damaged", "sidecar.lock", "sidecar.json"} <= present
    _assert_private(home)


def test_only_documented_names_appear(home, collector, tmp_path):
    """A full round leaves no name that the layout does not list, and nothing outside telemetry/."""
    elsewhere, temporary = tmp_path / "cwd", tmp_path / "tmp"
    elsewhere.mkdir()
    temporary.mkdir()
    collector.answer_with(503, 503, 422)
    code = "os.umask(0)\nassert outcome(event('PING')) == 'spooled'"
    workload(home, code, {"TMPDIR": str(temporary)}, cwd=elsewhere)
    processes.wait_until(lambda: len(collector.requests) >= 2)
    _assert_private(home)
    processes.wait_until(lambda: homes.rejected(home))
    processes.emit(home)
    processes.wait_until(lambda: homes.sent(home))
    processes.wait_for_end(home)
    _assert_private(home)
    documented = {
        *("spool", "work", "outbox", "sent", "rejected", "damaged", "dropped"),
        *("not-before", "sidecar.lock", "sidecar.json", "sidecar.log", "start-errors.log"),
    }
    assert {path.name for path in homes.host(home).iterdir()} <= documented
    in_telemetry = {path.name for path in homes.telemetry(home).iterdir()}
    assert in_telemetry == {"config.toml", "noticed", homes.host_name()}
    assert [path.name for path in home.parent.iterdir()] == [".flwr"]
    assert [*elsewhere.iterdir(), *temporary.iterdir()] == []
