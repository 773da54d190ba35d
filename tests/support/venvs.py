"""Programs from a package index, each in an environment of its own below a directory of the test."""

import subprocess
import sys

import pytest

_LONGEST_S = 300


def installed(directory, *requirements):
    """Install packages without their dependencies; the path of `site-packages`. Skip where that fails."""
    made = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", directory, *requirements],
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"{requirements} cannot be installed: {made.stderr.strip().splitlines()[-1:]}")
    return directory
