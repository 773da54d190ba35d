"""Adds to a build: a version that names the commit, and links of the first page that hold on an index.

Only hatchling loads this file; ``pyproject.toml`` names it. A build from an sdist takes both from the sdist.
A directory without git has the plain version, and so has an editable installation, which follows no commit.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

ROOT = Path(__file__).resolve().parent.parent
VERSION = "emitter/flwr_telemetry/version.py"
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)]+)\)")


def version() -> str:
    """The version at its tag, else ``<version>+g<commit>``; ``.dirty`` if tracked files were changed."""
    number: str = runpy.run_path(str(ROOT / VERSION))["__version__"]
    if _is_editable() or not (ROOT / ".git").exists():  # above it may be a repository of somebody else
        return number
    if _describe("--tags", "--exact-match", "--dirty", f"--match=v{number}") == f"v{number}":
        return number
    commit = _describe("--always", "--exclude=*", "--abbrev=12", "--dirty=.dirty")
    return f"{number}+g{commit}" if commit else number


def _is_editable() -> bool:
    """Whether hatchling was asked for an editable installation; the stack alone tells that so early."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not frame.f_code.co_name.endswith("build_editable"):
        frame = frame.f_back
    return frame is not None


def _describe(*options: str) -> str:
    """The name that git gives this commit; empty if git is missing or refuses this directory."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "describe", *options], cwd=ROOT, env=env, capture_output=True, check=False
        )
    except OSError:
        return ""
    return "" if done.returncode else done.stdout.decode("ascii").strip()


class Readme(MetadataHookInterface):
    """The first page with absolute links: an index shows it without the files beside it."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme``."""
        number, _, commit = metadata["version"].partition("+")
        pages = f"{metadata['urls']['Source']}/blob/{'main' if commit else f'v{number}'}"
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = _LINK.sub(rf"]({pages}/\1)", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


class Version(BuildHookInterface):  # type: ignore[type-arg]
    """The version of the distribution is that of the module ``flwr_telemetry.version`` in the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Replace the module by one that knows the commit."""
        if version == "editable":
            return
        text = (Path(self.root) / VERSION).read_text(encoding="utf-8")
        changed = re.sub(
            '^__version__ = ".*"', f'__version__ = "{self.metadata.version}"', text, flags=re.MULTILINE
        )
        if changed == text:
            return
        self._made = Path(tempfile.mkdtemp()) / "version.py"
        self._made.write_text(changed, encoding="utf-8")
        build_data["force_include"][str(self._made)] = "flwr_telemetry/version.py"

    def finalize(self, _version: str, build_data: dict[str, Any], _artifact: str) -> None:
        """Delete what ``initialize`` has made."""
        for made in build_data["force_include"]:
            if made == str(getattr(self, "_made", None)):
                self._made.unlink()
                self._made.parent.rmdir()
