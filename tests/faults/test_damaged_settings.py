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


def fill(home):
    events = records.series(3)
    return [homes.put(home, events[:1]), unfinished(home, events[1:2]), committed(home, body_of(events[2]))]


def check_off(zygote, home, collector):
    """Make sure that nothing happens, and that `status` says why; then mend it, and all is delivered."""
    waiting = {path: path.read_bytes() for path in fill(home)}
    config = homes.config_file(home)
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


@pytest.mark.parametrize("name", DAMAGE)
def test_what_cannot_be_understood(zygote, home, collector, name):
    """Telemetry is off, and nothing that waits is purged."""
    homes.write_settings(home, DAMAGE[name])
    check_off(zygote, home, collector)


def _sparse(path):
    path.touch()
    os.truncate(path, 100 * 2**20)


def _link_to_nowhere(path):
    path.symlink_to(path.name)


def _device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, _sparse, _link_to_nowhere, _device])
def test_what_is_no_file(zygote, home, collector, make):
    """A directory, a FIFO, 100 MiB of nothing, a circular link and a device switch off, and nothing hangs."""
    homes.config_file(home).unlink()
    make(homes.config_file(home))
    check_off(zygote, home, collector)
