"""The SuperLinks of this user that run already.

``flwr run`` starts a SuperLink that stays, and later ones use it. It reports as it was started, whatever the
variables of a later command say.

This module never signals a process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from flwr_telemetry import system

_PROGRAM = "flower-superlink"
_WORDS = 4
"""The program is among the first words: an interpreter, its options, and the script."""

_PROC = Path("/proc")


class SuperLink(NamedTuple):
    """A SuperLink that runs."""

    pid: int
    environ: Mapping[str, str]
    """The variables with which it was started."""


def running() -> Iterator[SuperLink]:
    """The SuperLinks of this user; none where proc(5) does not show them."""
    try:
        entries = [] if system.WINDOWS else [entry for entry in os.scandir(_PROC) if entry.name.isdigit()]
    except OSError:
        return
    for entry in entries:
        try:
            if not system.is_own(entry.stat()):
                continue
            words = _texts(entry, "cmdline")[:_WORDS]
            if _PROGRAM in map(os.path.basename, words):
                pairs = (text.partition("=") for text in _texts(entry, "environ"))
                yield SuperLink(int(entry.name), {name: value for name, _, value in pairs})
        except OSError:
            continue  # it has ended


def _texts(entry: os.DirEntry[str], name: str) -> list[str]:
    return os.fsdecode(Path(entry.path, name).read_bytes()).split("\0")
