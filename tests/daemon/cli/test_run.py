"""``flwr-telemetry run``: the environment, and the command in place of a real process."""

import os
import signal
import subprocess
import sys

import pytest

from flwr_telemetryd.cli.run import SITE_DIRECTORY, command_of, environment_for, run_command
from tests.support import processes

SITE = str(SITE_DIRECTORY)

# What `flwr-telemetry run` comes down to.
RUN = """
import os, sys
from flwr_telemetryd.cli.run import run_command
sys.exit(run_command(sys.argv[1:], os.environ))
"""


def run(home, *command, **options):
    """Run a command under ``run``, in a process of its own."""
    return processes.run(home, ["-c", RUN, *command], **options)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, [SITE]),
        ("", [SITE]),
        ("/a", [SITE, "/a"]),
        ("/a::/b:", [SITE, "/a", "", "/b", ""]),
        (SITE, [SITE]),
        (f"/a:{SITE}:/b:{SITE}", [SITE, "/a", "/b"]),
    ],
)
def test_our_directory_comes_first_and_once(before, after):
    """PYTHONPATH keeps its other entries in their order, the working directory included."""
    environ = {} if before is None else {"PYTHONPATH": before}
    assert environment_for(environ)["PYTHONPATH"].split(os.pathsep) == after


def test_the_rest_of_the_environment_is_kept():
    """All other variables are passed on, and the caller's mapping is not changed."""
    environ = {"PATH": "/bin", "FLWR_TELEMETRY_ENABLED": "0"}
    assert environment_for(environ) == {**environ, "PYTHONPATH": SITE}
    assert environ == {"PATH": "/bin", "FLWR_TELEMETRY_ENABLED": "0"}


def test_run_under_run_adds_nothing():
    once = environment_for({"PYTHONPATH": "/a"})
    assert environment_for(once) == once


def test_our_directory_holds_the_sitecustomize():
    """PYTHONPATH gets one directory with one module, and no package."""
    assert [path.name for path in SITE_DIRECTORY.iterdir() if path.name != "__pycache__"] == [
        "sitecustomize.py"
    ]


def test_the_command_adopts_flower(home):
    """A Python program has the hook, and so has the Python program that it starts."""
    look = "import sys; print(type(sys.meta_path[0]).__module__)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {look!r}], check=True)"
    assert run(home, sys.executable, "-c", child).stdout == "flwr_telemetry.flower\n"


def test_the_command_takes_the_place_of_the_process(home):
    """It has the process ID of ``run``, so the parent process can signal it."""
    with processes.start(home, ["-c", RUN, "sh", "-c", "echo $$"], stdout=-1) as started:
        output, _ = started.communicate()
    assert int(output) == started.pid


def test_arguments_streams_and_status_are_the_commands_own(home):
    """Arguments and standard input arrive unchanged, and the exit code is passed on."""
    script = 'printf "<%s>" "$@"; cat; exit 7'
    done = run(home, "sh", "-c", script, "sh", "a b", "", "--", "--json", "*", stdin=None, input="in")
    assert (done.returncode, done.stdout, done.stderr) == (7, "<a b><><--><--json><*>in", "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGPIPE", "SIGXFSZ"])
def test_a_command_that_dies_of_a_signal_is_seen_to(home, name):
    """Signals work as without ``run``, also those that Python itself ignores."""
    done = run(home, "sh", "-c", f"kill -{name.removeprefix('SIG')} $$; echo survived")
    assert (done.returncode, done.stdout) == (-signal.Signals[name], "")


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/command", "./no-such-command"])
def test_a_command_that_is_not_there_gives_127(command, capfd):
    """One line, and the exit code of a shell."""
    assert run_command([command], os.environ) == 127
    assert capfd.readouterr() == ("", f"flwr-telemetry run: {command}: command not found\n")


def test_a_command_that_cannot_be_executed_gives_126(tmp_path, capfd):
    """A file without permission, a directory and a file that is not a program cannot be executed."""
    plain, junk = tmp_path / "plain", tmp_path / "junk"
    plain.write_text("#!/bin/sh\n")
    junk.write_bytes(b"\x7fELF and no more")
    junk.chmod(0o700)
    assert [run_command([str(path)], os.environ) for path in (plain, tmp_path, junk)] == [126, 126, 126]
    assert len(capfd.readouterr().err.splitlines()) == 3


def test_the_command_is_looked_up_where_the_environment_says(tmp_path):
    """The PATH is that of the given environment; an entry that is not a directory is skipped."""
    file = tmp_path / "file"
    file.touch()
    assert run_command(["sh"], {**os.environ, "PATH": f"{file}:{tmp_path}"}) == 127


def test_a_failure_leaves_this_process_as_it_was():
    """The signals that Python ignores are ignored again, and the environment is untouched."""
    before = dict(os.environ), signal.getsignal(signal.SIGPIPE)
    run_command(["no-such-command"], os.environ)
    assert (dict(os.environ), signal.getsignal(signal.SIGPIPE)) == before


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("run -- python sim.py", ["python", "sim.py"]),
        ("run python -- -x", ["python", "--", "-x"]),
        ("run -- -odd", ["-odd"]),
        ("run", None),
        ("run --", None),
        ("run --help", None),
        ("run -h x", None),
        ("status run x", None),
        ("--version run x", None),
    ],
)
def test_command_lines_with_and_without_a_command(arguments, command):
    """The command begins with the first word that is not an option, or after two dashes."""
    assert command_of(arguments.split()) == command


def test_a_training_starts_whatever_its_environment_holds(home, tmp_path):
    """`run` works even if typer, click and rich are broken."""
    for name in ("typer", "click", "rich"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken')")
    done = processes.command(home, "run", "--", "echo", "trained", env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "trained\n", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_hindrance(home, closed):
    """The command runs. A missing command is reported if standard error is open."""
    for words, status in (("sh -c 'exit 3'", 3), ("/no/such/command", 127)):
        line = f"{sys.executable} -m flwr_telemetryd.cli run -- {words} {closed}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
        assert done.returncode == status
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", [[], [""]])
def test_an_empty_command_is_a_usage_error(command):
    with pytest.raises(ValueError, match="run needs a command"):
        run_command(command, os.environ)
