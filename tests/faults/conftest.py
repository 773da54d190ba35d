"""What tests of faults share: ready processes, some with mounts of their own, and a closed way out."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.faults.zygote import Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Give an interpreter that forks for each command."""
    with Zygote() as ready:
        yield ready


@pytest.fixture(scope="session")
def apart() -> Iterator[Zygote]:
    """Give one whose mounts nobody else sees; skip where that is not permitted."""
    for user in ([], ["--user", "--map-root-user"]):
        prefix = ["unshare", *user, "--mount"]
        probe = [*prefix, "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
        if shutil.which("unshare") and not subprocess.run(probe, check=False, capture_output=True).returncode:
            with Zygote(prefix) as ready:
                yield ready
            return
    pytest.skip("a private mount is not permitted here")


@pytest.fixture
def _fuse(_own_world: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send https to a port of loopback where nobody listens, should a home name no collector of ours."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
