"""The collector of the extra ``[collector]``, in place of the receiver, if it is installed.

It runs in a process of its own, so nothing of it is imported here. Its database lies in the temporary
directory of the demo. The demo counts the events that this collector gives back.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import requests

from ...errors import DemoError

START_S = 30.0
"""The longest wait for its start, its end, and each of its commands."""

_MODULE = "flwr_telemetry_collector"
_POLL_S = 0.02


def is_installed() -> bool:
    """Whether the extra ``[collector]`` is there."""
    return all(map(importlib.util.find_spec, (_MODULE, "sqlalchemy", "starlette", "uvicorn")))


class Collector:
    """The collector, for the length of a ``with`` block.

    Args:
        directory: an existing directory for its files.
        environ: this process's variables.
    """

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._database = directory / "collector.db"
        self._printed = directory / "collector.log"
        self._environ = {name: value for name, value in environ.items() if not name.startswith("FLWR_")}
        self.bodies: dict[str, bytes] = {}
        """The events that it gives back, each as a body of its own, by number."""
        self.requests = self.request_bytes = 0
        """Requests with bodies, and the size of these."""
        self.url = ""
        """For the settings of a home."""

    def __enter__(self) -> Self:
        with self._printed.open("wb") as printed:
            self._process = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
                self._command("serve", "--listen", "127.0.0.1:0"),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                cwd=self._database.parent,
                env=self._environ,
            )
        try:
            self._origin = self._wait_for_url()
        except BaseException:
            self.__exit__()
            raise
        self.url = f"{self._origin}/api/v1/event"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def read(self) -> str:
        """Read what it has into the attributes above; its report, as text."""
        with requests.Session() as session:
            session.trust_env = False
            told = session.get(f"{self._origin}/metrics", timeout=START_S).text
        counts = re.findall(r"^flwr_collector_(?:bodies|refused)_total\S* (\d+)$", told, re.MULTILINE)
        self.requests = sum(map(int, counts))
        received = re.search(r"^flwr_collector_received_bytes_total (\d+)$", told, re.MULTILINE)
        self.request_bytes = int(received[1]) if received else 0
        lines = self._ran("export", "--jsonl").encode().splitlines()
        self.bodies = {str(number): line for number, line in enumerate(lines)}
        return self._ran("report")

    def _command(self, name: str, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", _MODULE, name, "--db", str(self._database), *arguments]

    def _ran(self, *words: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - nothing in it comes from outside
                self._command(*words),
                capture_output=True,
                encoding="utf-8",
                check=False,
                timeout=START_S,
                cwd=self._database.parent,
                env={**self._environ, "PYTHONIOENCODING": "utf-8"},
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"the collector's {words[0]} did not end within {START_S:.0f} s") from error
        if done.returncode != 0:
            raise DemoError(f"the collector's {words[0]} failed: {_last_line(done.stderr)}")
        return done.stdout

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            printed = self._printed.read_text(encoding="utf-8", errors="replace")
            if found := re.search(r"listening on (\S+)\n", printed):
                return found[1]
            if self._process.poll() is not None:
                raise DemoError(f"the collector did not start: {_last_line(printed)}")
            time.sleep(_POLL_S)
        raise DemoError(f"the collector did not start within {START_S:.0f} s")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
