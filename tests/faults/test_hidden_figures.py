"""Figures that a machine does not tell: each one is missing, and nothing else."""

import pytest

from tests.support import homes, records, wire
from tests.support.hosts import private_mounts
from tests.support.zygote import Zygote

ADDED = {"cpu_count_physical", "memory_gib"}

# Inside containers, /proc may be anything. A bind mount hides one file, a tmpfs hides all.
PROC = {
    "blank": "touch {0} && mount --bind {0} /proc/meminfo",
    "of_nuls": "head -c 4096 /dev/zero >{0} && mount --bind {0} /proc/meminfo",
    "half": "echo 'MemTotal:' >{0} && mount --bind {0} /proc/meminfo",
    "hidden": "mount -t tmpfs none /proc",
}
_BROKEN = """
import psutil

def broken(*_, **__):
    raise {}

for name, value in list(vars(psutil).items()):
    if callable(value) and not (isinstance(value, type) and issubclass(value, Exception)):
        setattr(psutil, name, broken)
"""
PSUTIL = {
    "missing": "sys.modules['psutil'] = None",
    "raises a KeyError": _BROKEN.format("KeyError('MemTotal:')"),
    "raises a ValueError": _BROKEN.format("ValueError()"),
    "raises a SystemError": _BROKEN.format("SystemError()"),
    "raises an OSError": _BROKEN.format("OSError(38, 'Function not implemented')"),
    "unknown": "import psutil\npsutil.cpu_count = lambda **_: None\npsutil.virtual_memory = lambda: None",
}


_COMMANDS = """
import sys
from flwr_telemetryd.cli import main

for word in ("fields", "status", "doctor"):
    sys.argv = ["flwr-telemetry", word]
    try:
        assert main() == 0, word
    except SystemExit as end:
        assert not end.code, word
"""


def commands(zygote, home, before=""):
    """Run everything that looks at this machine."""
    done = zygote.python(home, f"import sys\n{before}\n{_COMMANDS}")
    assert (done.returncode, "Traceback" in done.said) == (0, False), done.said


@pytest.mark.parametrize("kind", PROC)
def test_proc_may_tell_nothing(home, collector, tmp_path, kind):
    homes.configure(home, collector.url)
    with Zygote(private_mounts(), preload="") as apart:
        apart.shell(home, PROC[kind].format(tmp_path / "shown"))
        assert apart.emit(home, 2) == ["spooled"] * 2
        assert apart.once(home).returncode == 0
        assert wire.serials(collector.events()) == [0, 1]
        assert all("memory_gib" not in event["context"]["hw"] for event in collector.events())
        commands(apart, home)


@pytest.mark.parametrize("kind", PSUTIL)
def test_psutil_may_be_missing_or_broken(bare, home, collector, kind):
    homes.configure(home, collector.url)
    homes.put(home, records.series(2))
    assert bare.once(home, before=PSUTIL[kind]).returncode == 0
    assert wire.serials(collector.events()) == [0, 1]
    assert all(ADDED.isdisjoint(event["context"]["hw"]) for event in collector.events())
    commands(bare, home, PSUTIL[kind])
    code = f"import sys\n{PSUTIL[kind]}\nassert outcome(event('PING')) == 'spooled'"
    logged = bare.workload(home, code, {"FLWR_TELEMETRY_LOGGING": "1"}).stderr
    assert "- POST - {" in logged
    assert not any(name in logged for name in ADDED)
