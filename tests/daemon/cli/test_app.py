"""All commands together: help, version, wrong input, streams, and the modules that a start loads."""

import re
import sys
import uuid
from importlib.metadata import entry_points

import pytest

from flwr_telemetry.version import __version__
from tests.support import homes, processes, records
from tests.support.processes import command

COMMANDS = (
    *("status", "inspect", "flush", "disable", "enable", "fields", "source", "forget", "doctor"),
    *("relay", "demo", "run"),
)


def test_without_arguments_it_shows_its_help(home):
    done = command(home)
    assert all(name in done.stdout + done.stderr for name in COMMANDS)


def test_it_tells_its_version(home):
    assert command(home, "--version").stdout == f"flwr-telemetry {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_by_example(home, name):
    """The help of each command holds a line that can be copied."""
    done = command(home, name, "--help", env={"COLUMNS": "100"})
    assert done.returncode == 0
    assert f"flwr-telemetry {name}" in done.stdout.split("Examples:")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["inspect", "--stage", "nowhere"],
        ["inspect", "--since", "yesterday"],
        ["disable", "now"],
        ["flush", "--timeout", "soon"],
        ["flush", "--timeout", "nan"],
        ["flush", "--timeout", "-1"],
        ["demo", "--workloads", "0"],
        ["relay"],
        ["relay", ""],
        ["relay", "--timeout", "nan", "file"],
        ["status", "--home", ""],
        ["run"],
        ["run", "--"],
        ["run", ""],
        ["run", "--", ""],
        ["run", "--nonsense", "true"],
    ],
)
def test_wrong_usage_is_exit_code_2_without_a_traceback(home, arguments):
    """An error message, and no file is written."""
    done = command(home, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert homes.tree(home.parent) == []


@pytest.mark.parametrize("arguments", [["status"], ["inspect"], ["flush"]])
def test_without_any_home_it_says_what_to_set(home, arguments):
    """Exit code 5: the home cannot be used."""
    done = command(home, *arguments, env={"FLWR_HOME": None, "HOME": "nowhere"})
    assert done.returncode == 5
    assert done.stderr == "flwr-telemetry: no home directory is known; set HOME or FLWR_HOME\n"


@pytest.mark.parametrize("arguments", [["inspect"], ["flush"]])
def test_a_home_that_is_a_file_is_one_sentence(home, arguments):
    """Exit code 5, and the message names the path."""
    home.write_text("")
    done = command(home, *arguments)
    assert done.returncode == 5
    assert done.stderr == f"flwr-telemetry: {home} is no directory; move it away or set FLWR_HOME\n"


def test_it_starts_without_what_a_single_command_needs(home):
    """`run` and `--help` must not pay for the network, nor for the record format."""
    code = """
import json, sys
import flwr_telemetryd.cli.app
heavy = {"requests", "urllib3", "psutil", "msgpack", "filelock", "rich.progress"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    assert processes.answers(home, code) == []


def test_the_command_is_installed_under_its_name():
    """`flwr-telemetry` and `python -m flwr_telemetryd.cli` are the same."""
    (script,) = entry_points(group="console_scripts", name="flwr-telemetry")
    assert script.value == "flwr_telemetryd.cli:main"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_and_options(home, shell):
    """The installed script uses typer's own protocol; nothing is written."""
    wanted = {"bash": "COMP_WORDS", "zsh": "_TYPER_COMPLETE_ARGS", "fish": "_TYPER_COMPLETE_ARGS"}[shell]
    for typed, offered in (("d", ["disable", "doctor", "demo"]), ("inspect --si", ["--since"])):
        env = {
            "_FLWR_TELEMETRY_COMPLETE": f"complete_{shell}",
            wanted: f"flwr-telemetry {typed}",
            "COMP_CWORD": str(len(typed.split())),
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        told = command(home, env=env).stdout
        assert all(word in told for word in offered), (typed, told)
        assert "status" not in told
    assert homes.tree(home.parent) == []


@pytest.mark.parametrize("arguments", [["status"], ["inspect"], ["--help"]])
def test_no_colour_and_no_folding_where_it_is_not_wanted(home, arguments):
    """A pipe gets plain, unfolded lines even inside a narrow terminal. A terminal obeys NO_COLOR."""
    homes.configure(home, (home.parent / "bodies.jsonl").as_uri(), sidecar="never")
    homes.put(home, records.series(1))
    env = {"COLUMNS": "30", "TERM": "xterm-256color"}
    piped = command(home, *arguments, env=env).stdout
    assert "\x1b" not in piped
    coloured = command(home, *arguments, env={**env, "FORCE_COLOR": "1"}).stdout
    assert "\x1b[" in coloured
    plain = command(home, *arguments, env={**env, "FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    if arguments != ["--help"]:
        assert max(map(len, plain.splitlines())) < max(map(len, piped.splitlines()))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("status --json >&-", 0),
        ("forget <&-", 2),
        ("fields | head -1", 0),
        ("nonsense 2>&-", 2),
        ("status --json >/dev/full", 5),
        ("--help >/dev/full", 5),
    ],
)
def test_streams_that_are_closed_or_full(home, words, code):
    """A shell, cron or the reader of a pipe may have closed them; a full disk is told in one line."""
    homes.put(home, records.series(1))
    (home / "source").write_text(str(uuid.uuid4()))
    shell = f"{sys.executable} -m flwr_telemetryd.cli {words}; echo ${{PIPESTATUS[0]}} >&3"
    codes = home.parent / "codes"
    done = processes.program(home, ["bash", "-c", f"exec 3>{codes}; {shell}"])
    assert codes.read_text() == f"{code}\n"
    assert len(done.stderr.splitlines()) == int("<&-" in words or "/dev/full" in words)


@pytest.mark.parametrize(
    "words", ["stauts", "inspect --nope", "inspect --since /no/spaces/" + "x" * 200, "config get"]
)
def test_a_usage_error_is_one_line_that_says_where_to_look(home, words):
    """Nothing is asked twice, and no word is broken by a box."""
    done = command(home, *words.split(), env={"COLUMNS": "60"})
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("flwr-telemetry: ")
    assert line.endswith("--help`.")
    assert line.count("Did you mean") <= 1


def test_help_on_commands_and_on_what_concerns_all(home):
    for words in (["inspect"], ["config", "set"]):
        told = [command(home, *form).stdout for form in (["help", *words], [*words, "--help"])]
        assert told[0] == told[1] != ""
    assert command(home, "help").stdout == command(home, "--help").stdout
    assert "FLWR_TELEMETRY_UPLOAD" in command(home, "help", "environment").stdout
    assert "126" in command(home, "help", "exit-codes").stdout
    assert command(home, "help", "bogus").returncode == 2


def test_no_argument_of_a_command_is_without_help(home):
    assert "_command" not in command(home, "run", "--help").stdout


AS_A_PART = """
import typer
from flwr_telemetryd.cli.app import app
flower = typer.Typer()
flower.add_typer(app, name="telemetry")
flower(["telemetry", "status"], prog_name="flwr")
"""


def test_hints_name_the_commands_as_they_were_called(home):
    """They may become a part of Flower's own command."""
    told = processes.run(home, ["-c", AS_A_PART]).stdout
    assert "flwr telemetry disable" in told
    assert "flwr-telemetry disable" not in told
