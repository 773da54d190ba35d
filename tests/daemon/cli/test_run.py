"""``flwr-telemetry run``: the environment as a pure function, and the command in place of a real process."""

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
    """The environment of a run is also that of a run within it."""
    once = environment_for({"PYTHONPATH": "/a"})
    assert environment_for(once) == once


def test_our_directory_holds_the_sitecustomize():
    """What goes on the path is one directory with one module, and no package."""
    assert [path.name for path in SITE_DIRECTORY.iterdir() if path.name != "__pycache__"] == [
        "sitecustomize.py"
    ]


def test_the_command_adopts_flower(home):
    """A Python program has the hook, and so has the Python program that it starts."""
    look = "import sys; print(type(sys.meta_path[0]).__module__)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {look!r}], check=True)"
    assert run(home, sys.executable, "-c", child).stdout == "flwr_telemetry.flower\n"


def test_the_command_takes_the_place_of_the_process(home):
    """It has the process id of ``run``, which whoever started ``run`` may signal."""
    with processes.start(home, ["-c", RUN, "sh", "-c", "echo $$"], stdout=-1) as started:
        output, _ = started.communicate()
    assert int(output) == started.pid


def test_arguments_streams_and_status_are_the_commands_own(home):
    """Arguments arrive unchanged, standard input too, and the exit status goes back."""
    script = 'printf "<%s>" "$@"; cat; exit 7'
    done = run(home, "sh", "-c", script, "sh", "a b", "", "--", "--json", "*", stdin=None, input="in")
    assert (done.returncode, done.stdout, done.stderr) == (7, "<a b><><--><--json><*>in", "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGPIPE", "SIGXFSZ"])
def test_a_command_that_dies_of_a_signal_is_seen_to(home, name):
    """Signals work as they do without ``run``, those that Python ignores for itself included."""
    done = run(home, "sh", "-c", f"kill -{name.removeprefix('SIG')} $$; echo survived")
    assert (done.returncode, done.stdout) == (-signal.Signals[name], "")


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/command", "./no-such-command"])
def test_a_command_that_is_not_there_gives_127(command, capfd):
    """A missing program is told in one line, with the status that a shell gives."""
    assert run_command([command], os.environ) == 127
    assert capfd.readouterr() == ("", f"flwr-telemetry run: {command}: command not found\n")


def test_a_command_that_cannot_be_executed_gives_126(tmp_path, capfd):
    """A file without permission, a directory, and a file that is no program are told apart from none."""
    plain, junk = tmp_path / "plain", tmp_path / "junk"
    plain.write_text("#!/bin/sh\n")
    junk.write_bytes(b"\x7fELF and no more")
    junk.chmod(0o700)
    assert [run_command([str(path)], os.environ) for path in (plain, tmp_path, junk)] == [126, 126, 126]
    assert len(capfd.readouterr().err.splitlines()) == 3


def test_the_command_is_looked_up_where_the_environment_says(tmp_path):
    """The PATH is that of the environment passed in, and an entry that is no directory hides nothing."""
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
def test_what_is_a_command_and_what_is_not(arguments, command):
    """Everything from the first word on that is no option, or that stands behind the two dashes."""
    assert command_of(arguments.split()) == command


def test_a_training_starts_whatever_its_environment_holds(home, tmp_path):
    """Nothing that the command for people needs can keep `run` from its job."""
    for name in ("typer", "click", "rich"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken')")
    done = processes.command(home, "run", "--", "echo", "trained", env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "trained\n", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_hindrance(home, closed):
    """The command runs with what there is, and one that is missing is told where that can be told."""
    for words, status in (("sh -c 'exit 3'", 3), ("/no/such/command", 127)):
        line = f"{sys.executable} -m flwr_telemetryd.cli run -- {words} {closed}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
        assert done.returncode == status
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", [[], [""]])
def test_an_empty_command_is_a_usage_error(command):
    """Without a program to run, the caller is told how to name one."""
    with pytest.raises(ValueError, match="run needs a command"):
        run_command(command, os.environ)
