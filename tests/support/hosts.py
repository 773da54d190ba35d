"""Namespaces: other hosts of a home, where this machine has another name, containers, and private mounts."""

import functools
import shutil
import subprocess
import tempfile

import pytest


@functools.cache
def _may():
    probe = ["unshare", "--uts", "true"]
    return shutil.which("unshare") and not subprocess.run(probe, capture_output=True, check=False).returncode


def container(words):
    """Give the command that runs these words as process 1 of a PID namespace, which ends with it."""
    if not _may():
        pytest.skip("a PID namespace takes root")
    return ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *words]


def private_mounts():
    """Give words that run others with mounts of their own; skip the test where that is not permitted."""
    for user in ([], ["--user", "--map-root-user"]):
        words = ["unshare", *user, "--mount"]
        probe = [*words, "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
        if shutil.which("unshare") and not subprocess.run(probe, check=False, capture_output=True).returncode:
            return words
    pytest.skip("a private mount is not permitted here")


def on(name, words):
    """Give the command that runs these words on a host of this name; skip the test where there is none."""
    if not _may():
        pytest.skip("a host of its own takes a UTS namespace, which takes root")
    return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name, *words]
