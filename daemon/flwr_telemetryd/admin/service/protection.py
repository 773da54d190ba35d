"""Finds by trying which settings of a unit this machine cannot keep, and writes the drop-in without them.

A user's manager may have some rights and lack others, in a container for example. Then systemd ends the
process of the service before its first instruction. A trial starts a unit of its own, which
loads the same program with some of the settings. Halving finds each setting that fails; no other is dropped.

    [Service]
    # 226/NAMESPACE: Failed to set up mount namespacing: /proc/sys: Operation not permitted
    ProtectKernelTunables=no

This module never changes the unit of the service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flwr_telemetry import files

from .systemctl import Systemctl

PROBE = "flwr-telemetry-probe.service"

_OFF = {
    **dict.fromkeys(
        "PrivateUsers ProtectSystem ProtectHome PrivateMounts PrivateTmp PrivateDevices ProtectClock "
        "ProtectHostname ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectControlGroups "
        "NoNewPrivileges RestrictNamespaces RestrictRealtime RestrictSUIDSGID MemoryDenyWriteExecute "
        "LockPersonality".split(),
        "no",
    ),
    "ProtectProc": "default",
    "CapabilityBoundingSet": "~",
    "RestrictAddressFamilies": "",
    "SystemCallArchitectures": "",
    "SystemCallFilter": "",
    "KeyringMode": "inherit",
    "Nice": "0",
    "IOSchedulingClass": "",
    "OOMScoreAdjust": "",
}
"""The settings that may be dropped, with the values that switch them off. An ordinary user may not drop the
bounding set of capabilities: ``~`` means all."""

_ALWAYS = {"Environment", "ReadWritePaths"}
_PROBE_COMMAND = re.compile(r" -m flwr_telemetryd --.*$")

_EXIT_CODES = dict(
    code.split("/")
    for code in (
        "201/NICE 205/LIMITS 206/OOM_ADJUST 211/IOPRIO 213/SECUREBITS 214/SETSCHEDULER 216/GROUP 217/USER "
        "218/CAPABILITIES 226/NAMESPACE 227/NO_NEW_PRIVILEGES 228/SECCOMP 230/PERSONALITY "
        "232/ADDRESS_FAMILIES 237/KEYRING"
    ).split()
)
"""Exit codes of systemd.exec(5): it could not set up the new process."""

_RATED = re.compile(r"# systemd-analyze security: ([\d.]+) of 10 with all settings, ([\d.]+) without these\.")
_INTRODUCTION = """\
# This machine cannot keep these settings of the unit: `flwr-telemetry service install` has tried them.
# All others stay. To try again, install again.
"""


@dataclass(frozen=True, slots=True)
class Exposure:
    """The ratings of ``systemd-analyze security``: 0 is the safest, 10 the most exposed."""

    with_all: float
    """Of the unit with all its settings."""

    now: float
    """Without the dropped ones."""


def is_refused(exit_code: str | None) -> bool:
    """Whether an ``ExecMainStatus`` means that systemd could not set up the process."""
    return exit_code in _EXIT_CODES


def refused_settings(manager: Systemctl, text: str) -> dict[str, str] | None:
    """The settings of a unit that this machine cannot keep, each with the reason.

    Args:
        manager: the user's manager.
        text: the rendered unit.

    Returns:
        None if the unit fails without any of them, too.
    """
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, found, _ = line.partition("=")
        if found and not name.startswith("#"):
            lines.setdefault(name, []).append(line)
    path = manager.runtime_directory() / PROBE
    trials = _Trials(manager, path, lines)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if trials.failure(()):
            return None
        trials.keep_all([name for name in lines if name in _OFF])
    finally:
        path.unlink(missing_ok=True)
        manager.run("daemon-reload")
        manager.run("reset-failed", PROBE)
    return trials.refused


@dataclass
class _Trials:
    _manager: Systemctl
    _path: Path
    _lines: Mapping[str, list[str]]
    refused: dict[str, str] = field(default_factory=dict)
    _kept: tuple[str, ...] = ()

    def keep_all(self, names: list[str]) -> None:
        """Keep as many settings as possible; those that fail are in ``refused`` then."""
        self.keep(names)
        for name in list(self.refused):
            self.keep([name])  # it may have needed one that was not kept yet

    def keep(self, names: list[str]) -> None:
        """Keep as many of these settings as possible, besides those that are kept already."""
        failure = self.failure((*self._kept, *names))
        if not failure:
            self._kept += tuple(names)
            for name in names:
                self.refused.pop(name, None)
        elif len(names) == 1:
            self.refused[names[0]] = failure
        else:
            half = len(names) // 2
            self.keep(names[:half])
            self.keep(names[half:])

    def failure(self, kept: tuple[str, ...]) -> str:
        """Why a process with these settings cannot start; empty if it can."""
        files.replace_bytes(
            self._path, "\n".join(self._text(kept)).encode(errors="surrogateescape"), any_owner=True
        )
        manager = self._manager
        complaint = manager.run("daemon-reload") or manager.run("start", PROBE)
        if not complaint:
            return ""
        code = manager.show(PROBE, "ExecMainStatus").get("ExecMainStatus", "")
        said = [
            line
            for line in manager.journal(PROBE, 5)
            if "Failed to set up" in line or "Failed to apply" in line
        ]
        reason = said[-1].partition(": ")[2] if said else ""
        return ": ".join(filter(None, [f"{code}/{_EXIT_CODES.get(code, 'failed')}", reason]))

    def _text(self, kept: tuple[str, ...]) -> Iterator[str]:
        yield from ("[Unit]", "StartLimitIntervalSec=0", "[Service]", "Type=oneshot", "StandardOutput=null")
        yield from (
            _PROBE_COMMAND.sub(" -m flwr_telemetryd --help", line) for line in self._lines["ExecStart"]
        )
        for name, lines in self._lines.items():
            if name in kept or name in _ALWAYS:
                yield from lines
            elif name in _OFF:
                yield f"{name}={_OFF[name]}"
        yield ""


def drop_in_text(refused: Mapping[str, str], exposure: Exposure | None) -> str:
    """The drop-in that switches settings off, with the reason of each."""
    rated = "# systemd-analyze security: {} of 10 with all settings, {} without these.\n"
    lines = [f"# {reason}\n{name}={_OFF[name]}\n" for name, reason in refused.items()]
    return "".join(
        [
            _INTRODUCTION,
            rated.format(exposure.with_all, exposure.now) if exposure else "",
            "\n[Service]\n",
            *lines,
        ]
    )


def refused_in(text: str | None) -> dict[str, str]:
    """The settings that a drop-in switches off, each with the reason; none without a drop-in."""
    found: dict[str, str] = {}
    reason = ""
    for line in (text or "").splitlines():
        name = line.partition("=")[0]
        if line.startswith("#"):
            reason = line.removeprefix("# ")
        elif name in _OFF:
            found[name] = reason
    return found


def exposure_in(text: str | None) -> Exposure | None:
    """The ratings that a drop-in notes."""
    found = _RATED.search(text or "")
    return Exposure(float(found[1]), float(found[2])) if found else None
