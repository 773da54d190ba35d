"""Damage in the settings: telemetry is off, `status` names the file, and nothing that waits is purged."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import body_of, committed, unfinished
from tests.support import homes, records, wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.zygote import Zygote
    from tests.support.collector import Collector

DAMAGE: dict[str, bytes] = {
    "cut in a value": b"enabled = tr",
    "cut in a text": b'url = "http://127.0.0.1:9/',
    "cut in a name": b"ena",
    "garbage": random.Random(7).randbytes(3000),
    "zeros": bytes(100),
    "a zero at the end": b"enabled = true\n\0",
    "a zero in a text": b'ca_bundle = "a\0b"\n',
    "deep arrays": b"x = " + b"[" * 30_000,
    "deep closed arrays": b"x = " + b"[" * 30_000 + b"]" * 30_000,
    "deep tables": b"x = " + b"{a=" * 15_000,
    "a deep name": b"a." * 30_000 + b"a = 1",
    "a long number": b"idle_exit_s = " + b"9" * 60_000,
    "not a number": b"idle_exit_s = nan\n",
    "no end": b"idle_exit_s = inf\n",
    "below zero": b"respawn_s = -1\n",
    "twice": b"enabled = true\nenabled = true\n",
    "UTF-16": "enabled = true\n".encode("utf-16"),
    "Latin-1": 'ca_bundle = "/é"\n'.encode("latin-1"),
    "a name misspelt": b"enable = true\n",
    "a text for a truth": b'enabled = "true"\n',
    "JSON": b'{"enabled": true}',
    "64 KiB of comments": b"#" * 70_000,
}


def fill(home: Path) -> list[Path]:
    """Put an event in each stage of the way; give the files."""
    events = records.series(3)
    return [
        homes.put(home, events[:1]),
        unfinished(home, events[1:2]),
        committed(home, body_of(events[2])),
    ]


def check_off(zygote: Zygote, home: Path, collector: Collector) -> None:
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
def test_what_cannot_be_understood(zygote: Zygote, home: Path, collector: Collector, name: str) -> None:
    """Bytes that are no settings are no yes, and no wish to forget either."""
    homes.write_settings(home, DAMAGE[name])
    check_off(zygote, home, collector)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 100 * 2**20)


def _link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.name)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, _sparse, _link_to_nowhere, _device])
def test_what_is_no_file(
    zygote: Zygote, home: Path, collector: Collector, make: Callable[[Path], None]
) -> None:
    """Nor is a directory, a FIFO, 100 MiB of nothing, a link in a circle or a device; none of them hangs."""
    homes.telemetry(home).mkdir(parents=True, mode=0o700)
    make(homes.config_file(home))
    check_off(zygote, home, collector)


def test_a_running_workload_stops(zygote: Zygote, home: Path) -> None:
    """Settings that break under a running process switch it off at its next look, and on when mended."""
    homes.configure(home)
    config = homes.config_file(home)
    code = f"""
import time
def told_until(word):
    end = time.monotonic() + 50
    while (told := outcome(event("PING"))) != word and time.monotonic() < end:
        time.sleep(0.01)
    return told
path = {str(config)!r}
good = open(path, "rb").read()
told = [told_until("spooled")]
open(path, "wb").write(good[:-5] + bytes(9))
told.append(told_until("disabled"))
open(path, "wb").write(good)
print(json.dumps([*told, told_until("spooled")]))
"""
    assert zygote.answers(home, code) == ["spooled", "disabled", "spooled"]
