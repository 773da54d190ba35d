"""``flwr-telemetry run``: the environment, and the command in place of a real process."""

import os
import signal
import subprocess
import sys

import pytest

from flwr_telemetry.log import FIRST_CONTACT
from flwr_telemetryd.cli.run import SITE_DIRECTORY, command_of, environment_for, run_command
from tests.support import homes, processes

SITE = str(SITE_DIRECTORY)

# What `flwr-telemetry run` comes down to.
RUN = """
import os, sys
from flwr_telemetryd.cli.run import run_command
sys.exit(run_command(sys.argv[1:], os.environ))
"""


@pytest.fixture(autouse=True)
def _told(home):
    homes.configure(home)


def run(home, *command, **options):
    return processes.run(home, ["-c", RUN, *command], **options)


AFTER = {None: [], "": [], "/a": ["/a"], "/a::/b:": ["/a", "", "/b", ""], SITE: []}
AFTER |= {f"/a:{SITE}:/b:{SITE}": ["/a", "/b"]}


@pytest.mark.parametrize("before", AFTER)
def test_our_directory_comes_first_and_once(before):
    assert {path.name for path in SITE_DIRECTORY.iterdir()} - {"__pycache__"} == {"sitecustomize.py"}
    environ = {} if before is None else {"PYTHONPATH": before}
    assert environment_for(environ)["PYTHONPATH"].split(os.pathsep) == [SITE, *AFTER[before]]


def test_the_command_takes_the_place_of_the_process(home):
    with processes.start(home, ["-c", RUN, "sh", "-c", "echo $$"], stdout=-1) as started:
        output, _ = started.communicate()
    assert int(output) == started.pid


def test_arguments_streams_and_status_are_the_commands_own(home):
    script = 'printf "<%s>" "$@"; cat; exit 7'
    done = run(home, "sh", "-c", script, "sh", "a b", "", "--", "--json", "*", stdin=None, input="in")
    assert (done.returncode, done.stdout, done.stderr) == (7, "<a b><><--><--json><*>in", "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGPIPE", "SIGXFSZ"])
def test_a_command_that_dies_of_a_signal_is_seen_to(home, name):
    done = run(home, "sh", "-c", f"kill -{name.removeprefix('SIG')} $$; echo survived")
    assert (done.returncode, done.stdout) == (-signal.Signals[name], "")


def test_a_command_that_cannot_be_started_gives_the_exit_code_of_a_shell(tmp_path, capfd):
    """The PATH is that of the given environment; this process stays as it was."""
    before = dict(os.environ), signal.getsignal(signal.SIGPIPE)
    plain, junk = tmp_path / "plain", tmp_path / "junk"
    plain.write_text("#!/bin/sh\n")
    junk.write_bytes(b"\x7fELF and no more")
    junk.chmod(0o700)
    environ = {**os.environ, "PATH": f"{tmp_path}:{plain}"}
    missing = ["sh", "no-such-command", "/no/such/command", "./no-such-command"]
    assert [run_command([name], environ) for name in missing] == [127] * 4
    assert capfd.readouterr().err.splitlines() == [
        f"flwr-telemetry run: {name}: command not found" for name in missing
    ]
    assert [run_command([str(path)], environ) for path in (plain, tmp_path, junk)] == [126] * 3
    assert len(capfd.readouterr().err.splitlines()) == 3
    assert (dict(os.environ), signal.getsignal(signal.SIGPIPE)) == before


def test_command_lines_with_and_without_a_command():
    commands = {
        "run -- python sim.py": "python sim.py",
        "run python -- -x": "python -- -x",
        "run -- -odd": "-odd",
    }
    for words, command in commands.items():
        assert command_of(words.split()) == command.split()
    for words in ("run", "run --", "run --help", "run -h x", "status run x", "--version run x"):
        assert command_of(words.split()) is None, words


def test_a_training_starts_whatever_its_environment_holds(home, tmp_path):
    for name in ("typer", "click", "rich"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken')")
    done = processes.command(home, "run", "--", "echo", "trained", env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "trained\n", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_hindrance(home, closed):
    for words, status in (("sh -c 'exit 3'", 3), ("/no/such/command", 127)):
        line = f"{sys.executable} -m flwr_telemetryd.cli run -- {words} {closed}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
        assert done.returncode == status
        assert b"Traceback" not in done.stderr


SAID = f"flwr-telemetry run: {FIRST_CONTACT}\n"
OFF = {"FLWR_TELEMETRY_ENABLED": "0"}


@pytest.fixture
def untold(home):
    (homes.telemetry(home) / "noticed").unlink()
    return homes.telemetry(home) / "noticed"


def test_the_line_of_first_contact_is_said_once_for_a_home(home, untold):
    """Before the command starts, because its first event may come from a process whose streams are closed."""
    assert [run(home, "echo", "x").stderr for _ in range(2)] == [SAID, ""]
    assert untold.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("silence", ["2>/dev/null", "2>&-"])
def test_a_home_counts_as_told_only_where_the_line_is_seen(home, untold, silence):
    line = f"{sys.executable} -m flwr_telemetryd.cli run -- echo x {silence}"
    assert processes.program(home, ["sh", "-c", line]).stdout == "x\n"
    assert not untold.exists()
    assert run(home, "echo", "x").stderr == SAID


def test_nothing_is_said_or_made_while_telemetry_is_off(home, untold):
    before = homes.contents(home)
    assert run(home, "echo", "x", env=OFF).stderr == ""
    assert run(home, "/no/such/command").stderr == "flwr-telemetry run: /no/such/command: command not found\n"
    assert homes.contents(home) == before


EVENT = "from flwr_telemetry import event; print(event('PING').result())"
LOGGER = "import logging; logging.getLogger('flwr-telemetry')"
CLOSED = "import logging, sys; sys.stderr = open('x', 'w'); logging.basicConfig(); sys.stderr.close()\n"


@pytest.mark.parametrize(
    ("quiet", "setup"),
    [
        *(("2>/dev/null", ""), ("2>&-", ""), ("", CLOSED)),
        *(("", f"{LOGGER}.{call}\n") for call in ("setLevel('ERROR')", "addHandler(logging.NullHandler())")),
        ("", "import os, sys; sys.stderr = open(os.devnull, 'w')\n"),
    ],
)
def test_a_process_that_nobody_sees_leaves_the_line_to_the_next(home, untold, tmp_path, quiet, setup):
    """A SuperLink that `flwr run` starts has no streams; the first process with a stream says it."""
    for name, code in (("quiet.py", setup + EVENT), ("loud.py", EVENT)):
        (tmp_path / name).write_text(code)
    line = f"{sys.executable} quiet.py {quiet}"
    first = processes.program(home, ["sh", "-c", line], processes.NEVER, cwd=tmp_path)
    assert first.stdout == "spooled\n"
    assert FIRST_CONTACT not in first.stderr
    assert not untold.exists()
    seen = [processes.run(home, ["loud.py"], processes.NEVER, cwd=tmp_path).stderr for _ in range(2)]
    assert [FIRST_CONTACT in text for text in seen] == [True, False]


@pytest.mark.parametrize(
    ("environ", "text", "given"),
    [
        ({}, "", None),
        ({}, "enabled = false\n", "0"),
        ({}, "enabled =\n", "0"),
        ({"FLWR_TELEMETRY_ENABLED": "1"}, "enabled = false\n", "0"),
        ({"DO_NOT_TRACK": "1"}, "", "0"),
        ({"DO_NOT_TRACK": "1", "FLWR_TELEMETRY_ENABLED": "1"}, "", "1"),
        ({"FLWR_TELEMETRY_ENABLED": "no"}, "", "no"),
        ({"FLWR_TELEMETRY_ENABLED": "true"}, "", "true"),
    ],
)
def test_the_command_gets_the_variable_that_every_flower_obeys(home, environ, text, given):
    homes.write_settings(home, text)
    look = "import os; print(os.environ.get('FLWR_TELEMETRY_ENABLED'))"
    assert run(home, sys.executable, "-I", "-c", look, env=environ).stdout == f"{given}\n"


def test_it_is_told_whether_a_flower_that_cannot_be_adopted_reports(home):
    done = run(home, "env", "-u", "FLWR_TELEMETRY_ENABLED", sys.executable, "-c", "", env=OFF)
    assert "takes FLWR_TELEMETRY_ENABLED=0 away" in done.stderr
    done = run(home, sys.executable, "-I", "-c", "", env={"FLWR_TELEMETRY_ENABLED": "true"})
    assert "Flower reports nothing in" in done.stderr


@pytest.fixture
def superlink(home, tmp_path):
    """Give a function that starts what looks like a SuperLink, with these variables; the process ends."""
    script = tmp_path / "flower-superlink"
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    started = []

    def start(of, **env):
        process = processes.start(of, [str(script), "--insecure"], env, stdout=-1)
        started.append(process)
        assert process.stdout.readline() == "up\n"
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("here", [True, False])
def test_a_superlink_that_reports_as_it_was_started_is_named(home, superlink, tmp_path, here):
    pid = superlink(home if here else tmp_path / "elsewhere")
    flwr = tmp_path / "flwr"
    flwr.write_text("#!/bin/sh\n")
    flwr.chmod(0o700)
    for words, is_told in ((["true"], here), ([str(flwr), "run"], True)):
        for env in (OFF, {"DO_NOT_TRACK": "1"}, {}):
            told = run(home, *words, env=env).stderr
            assert (f"flower-superlink, process {pid}" in told) is is_told
            assert (f"`kill {pid}`" in told) is is_told


def test_a_superlink_that_reports_as_this_command_would_is_not_named(home, superlink):
    superlink(home, FLWR_TELEMETRY_ENABLED="0")
    superlink(home, FLWR_TELEMETRY_ENABLED="true")
    superlink(home, PYTHONPATH=SITE)
    assert run(home, "true").stderr == ""
    assert "flower-superlink" in run(home, "true", env=OFF).stderr


def test_on_a_system_without_our_locks_the_command_runs_and_run_says_so(home):
    """As on Windows: Flower reports by itself there, unless a variable says no; no other command works."""
    code = "import sys\nsys.modules['fcntl'] = None\nfrom flwr_telemetryd.cli import main\nmain()"
    look = "import os; print(os.environ.get('FLWR_TELEMETRY_ENABLED'))"
    for env, given in (({}, "None"), ({"DO_NOT_TRACK": "1"}, "0"), ({"DO_NOT_TRACK": ""}, "None")):
        done = processes.run(home, ["-c", code, "run", "--", sys.executable, "-c", look], env)
        assert (done.returncode, done.stdout) == (0, f"{given}\n"), done.stderr
        assert done.stderr == (
            "flwr-telemetry run: this system is not supported yet, so Flower reports by itself\n"
        )
    done = processes.run(home, ["-c", code, "status"])
    assert (done.returncode, done.stderr) == (5, "flwr-telemetry: works on Linux, macOS and Windows only\n")
