"""Other hosts of a home: processes in a UTS namespace, where this machine has another name."""

from __future__ import annotations

import functools
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence


@functools.cache
def _may() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--uts", "true"], capture_output=True, check=False).returncode == 0


def on(name: str, words: Sequence[str]) -> list[str]:
    """Give the command that runs these words on a host of this name; skip the test where there is none."""
    if not _may():
        pytest.skip("a host of its own takes a UTS namespace, which takes root")
    return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name, *words]
