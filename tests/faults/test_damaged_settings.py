"""Damage in the settings: telemetry is off, `status` names the file, and nothing that waits is purged."""

import os
import random

import pytest

from tests.faults.scene import body_of, committed, unfinished
from tests.support import homes, records, wire

DAMAGE = {
    "cut in a value": b"enabled = tr",
    "garbage": random.Random(7).randbytes(3000),
    "zeros": bytes(100),
    "a zero at the end": b"enabled = true\n\0",
    "deep closed arrays": b"x = " + b"[" * 30_000 + b"]" * 30_000,
    "deep tables": b"x = " + b"{a=" * 15_000,
    "a deep name": b"a." * 30_000 + b"a = 1",
    "a long number": b"idle_exit_s = " + b"9" * 60_000,
    "not a number": b"idle_exit_s = nan\n",
    "UTF-16": "enabled = true\n".encode("utf-16"),
    "a name misspelt": b"enable = true\n",
    "64 KiB of comments": b"#" * 70_000,
}


def _sparse(path):
    path.touch()
    os.truncate(path, 100 * 2**20)


NO_FILES = {
    "a directory": os.mkdir,
    "a FIFO": os.mkfifo,
    "100 MiB of nothing": _sparse,
    "a circular link": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("name", [*DAMAGE, *NO_FILES])
def test_what_cannot_be_understood(zygote, home, collector, name):
    """Telemetry is off, `status` says why, nothing hangs or is purged; once mended, all is delivered."""
    config, events = homes.config_file(home), records.series(3)
    if name in DAMAGE:
        homes.write_settings(home, DAMAGE[name])
    else:
        config.unlink()
        NO_FILES[name](config)
    paths = homes.put(home, events[:1]), unfinished(home, events[1:2]), committed(home, body_of(events[2]))
    waiting = {path: path.read_bytes() for path in paths}
    assert zygote.emit(home) == ["disabled"]
    assert zygote.once(home).returncode == 3
    status = zygote.status(home)
    assert (status["enabled"], status["decided_by"]) == (False, "user file")
    assert str(config) in status["reason"]
    assert str(config) in zygote.command(home, "status").stdout
    assert {path: path.read_bytes() for path in waiting} == waiting
    config.rmdir() if config.is_dir() else config.unlink()
    homes.configure(home, collector.url)
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [0, 1, 2]
