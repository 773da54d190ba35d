"""The peers, each at one version in a virtual environment of its own.

A peer is used as its documentation says. Besides, it gets the address and the authorities of the collector.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Peer(NamedTuple):
    """A library that reports events."""

    name: str
    """Of its environment."""
    title: str
    """For the table."""
    call: str
    """The call that is compared with our ``event()``."""
    program: str
    """The function in ``programs/contenders.py``."""
    pins: str = ""
    """For pip."""
    python: Path = Path(sys.executable)
    why_missing: str = ""


_OTLP = "opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2"
_ITERATIVE = "iterative-telemetry 0.0.10"
PEERS = (
    Peer("flwr-1.42", "flwr 1.42.0", "event()", "flower", "flwr==1.42.0"),
    Peer("flwr-1.41", "flwr 1.41.0", "event()", "flower", "flwr==1.41.0"),
    Peer("flwr-1.27", "flwr 1.27.0", "event()", "flower", "flwr==1.27.0"),
    Peer("posthog", "posthog 7.91.1", "capture()", "posthog", "posthog==7.91.1"),
    Peer("otlp", "opentelemetry 1.45.2", "Logger.emit()", "otlp", _OTLP),
    Peer("iterative-telemetry", _ITERATIVE, "send_event()", "iterative", _ITERATIVE.replace(" ", "==")),
    Peer("glean", "glean-sdk 71.0.0", "record()", "glean", "glean-sdk==71.0.0"),
)
OURS = Peer("ours", "flwr-telemetry", "event()", "ours")


def prepare(directory, wanted, show):
    """Make the environments that do not exist yet; the installed peers, and the missing ones."""
    there, missing = [], []
    for peer in wanted:
        show(f"installing {peer.title}")
        python = directory / peer.name / "bin" / "python"
        mark = directory / peer.name / "installed.txt"
        if not (mark.exists() and mark.read_text() == peer.pins):
            if failure := _install(python, peer):
                missing.append(peer._replace(why_missing=f"does not install: {failure}"))
                continue
            mark.write_text(peer.pins)
        there.append(peer._replace(python=python))
    return there, missing


def _install(python, peer):
    """Make an environment; the reason if that failed."""
    for command in (
        [sys.executable, "-m", "venv", str(python.parents[1])],
        [str(python), "-m", "pip", "install", "-q", *peer.pins.split()],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.splitlines() or ["no reason given"])[-1]
    return ""
