"""`flwr telemetry`: Flower's own command, over its own typer, with ours as a group of it."""

import re
import sys

import pytest

from tests.e2e import releases, sides
from tests.support import homes, processes

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

NAME = "flwr telemetry"
OURS = re.compile(r"flwr-telemetry (?=[a-z-])")
"""Our own name before a command or an option. `pip uninstall flwr-telemetry` may stand in a help."""


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    return releases.embedded(sys.executable, tmp_path_factory.mktemp("command") / "flower", command=True)


@pytest.fixture
def flwr(changed, home):
    """Give a function that runs Flower's command for this home."""

    def run(*words, **env):
        fixed = {"PYTHONPATH": str(changed), "FLWR_DISABLE_UPDATE_CHECK": "1", "COLUMNS": "200"}
        return processes.program(home, [str(sides.BIN / "flwr"), *words], {**processes.NEVER, **fixed, **env})

    return run


def test_it_is_a_group_of_flowers_command(flwr):
    assert re.search(r"telemetry +See and control", flwr("--help").stdout)


@pytest.mark.parametrize("words", ["--help", "config set --help", "help service"])
def test_each_help_names_the_commands_as_they_are_called(flwr, words):
    told = flwr("telemetry", *words.split())
    assert told.returncode == 0, told.stderr
    assert f"Usage: {NAME}" in told.stdout
    assert f"{NAME} " in told.stdout.partition("Examples:")[2]
    assert not OURS.search(told.stdout)


def test_hints_errors_and_exit_codes(flwr, home):
    """A hint, a refusal with its code, and wrong usage."""
    assert f"`{NAME} disable`" in flwr("telemetry", "status").stdout
    assert flwr("telemetry", "disable").returncode == 0
    refused = flwr("telemetry", "flush")
    assert refused.returncode == 3
    assert refused.stderr.startswith(f"{NAME}: nothing is delivered")
    assert f"`{NAME} enable`" in refused.stderr
    wrong = flwr("telemetry", "config", "set", "nonsense", "1")
    assert wrong.returncode == 2
    assert f"Usage: {NAME} config set" in wrong.stderr
    told = refused.stderr + wrong.stderr
    assert not OURS.search(told)


def test_run_starts_the_command_as_it_is(flwr, home):
    """With its exit code, and with the umask of the caller."""
    homes.configure(home)
    code = "import os, sys; print(oct(os.umask(0))); sys.exit(9)"
    done = flwr("telemetry", "run", "--", sys.executable, "-c", code)
    assert (done.returncode, done.stdout) == (9, f"{oct(umask())}\n"), done.stderr
    missing = flwr("telemetry", "run", "--", "no-such-program")
    assert missing.returncode == 127
    assert missing.stderr.splitlines()[-1] == f"{NAME}: no-such-program: command not found"


def umask():
    done = processes.program(None, [sys.executable, "-c", "import os; print(os.umask(0))"])
    return int(done.stdout)


def test_completion(flwr):
    """By Flower's own completion, which is installed once for all of its commands."""
    for words, expected in (("sta", "status"), ("config g", "get"), ("service unin", "uninstall")):
        line = f"flwr telemetry {words}"
        env = {"_FLWR_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        assert flwr(**env).stdout.split() == [expected]
