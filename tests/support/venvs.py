"""Programs from a package index, each in an environment of its own below a directory of the test."""

import subprocess
import sys

import pytest

_LONGEST_S = 300


def installed(directory, *requirements, alone=True):
    """Install packages, alone or with what they need; the path of `site-packages`. Skip where that fails."""
    options = ["-q", *["--no-deps"] * alone, "--target", directory]
    made = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *requirements],
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"{requirements} cannot be installed: {made.stderr.strip().splitlines()[-1:]}")
    return directory
