"""Whom we measure ourselves against, each in a virtual environment of its own, at one version.

A peer is used as its documentation says. What it is told besides is where the collector is and which
authorities to believe.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Peer:
    """What is installed, and how it is used.

    Attributes:
        name: of its environment.
        title: for the table.
        call: what of it is beside our ``event()``.
        script: the program below ``programs/`` that uses it.
        pins: what pip installs.
    """

    name: str
    title: str
    call: str
    script: str
    pins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contender:
    """A peer that is there, or ourselves."""

    name: str
    title: str
    call: str
    script: str
    python: Path


@dataclass(frozen=True, slots=True)
class Missing:
    """A peer that is not."""

    title: str
    why: str


PEERS = (
    Peer("flwr-1.41", "flwr 1.41.0", "event()", "by_flower.py", ("flwr==1.41.0",)),
    Peer("flwr-1.27", "flwr 1.27.0", "event()", "by_flower.py", ("flwr==1.27.0",)),
    Peer("posthog", "posthog 7.91.1", "capture()", "by_posthog.py", ("posthog==7.91.1",)),
    Peer(
        "otlp",
        "opentelemetry 1.45.2",
        "Logger.emit()",
        "by_otlp.py",
        ("opentelemetry-sdk==1.45.2", "opentelemetry-exporter-otlp-proto-http==1.45.2"),
    ),
    Peer(
        "iterative-telemetry",
        "iterative-telemetry 0.0.10",
        "send_event()",
        "by_iterative.py",
        ("iterative-telemetry==0.0.10",),
    ),
    Peer("glean", "glean-sdk 71.0.0", "record()", "by_glean.py", ("glean-sdk==71.0.0",)),
)
OURS = Contender("ours", "flwr-telemetry", "event()", "by_ours.py", Path(sys.executable))


def prepare(directory, wanted, advance):
    """Make the environments that are not there yet; give who is there, and who is not."""
    there, missing = [], []
    for peer in wanted:
        advance(f"installing {peer.title}")
        python = directory / peer.name / "bin" / "python"
        failure = "" if _is_installed(python, peer) else _install(directory / peer.name, python, peer)
        if failure:
            missing.append(Missing(peer.title, f"does not install: {failure}"))
        else:
            there.append(Contender(peer.name, peer.title, peer.call, peer.script, python))
    return there, missing


def _mark(python):
    return python.parents[1] / "installed.txt"


def _is_installed(python, peer):
    mark = _mark(python)
    return mark.exists() and mark.read_text() == "\n".join(peer.pins)


def _install(environment, python, peer):
    """Make an environment; give why that failed, or nothing."""
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(python), "-m", "pip", "install", "-q", *peer.pins],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.splitlines() or ["no reason given"])[-1]
    _mark(python).write_text("\n".join(peer.pins))
    return ""
