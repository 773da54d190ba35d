"""All commands together: help, version, wrong input, streams, and the modules that a start loads."""

import re
import sys
import uuid

import pytest

from flwr_telemetry.version import __version__
from tests.support import homes, processes, records
from tests.support.processes import command

COMMANDS = "status view inspect fields source disable enable forget purge flush relay demo doctor run".split()


WRONG = [
    *(["nonsense"], ["--nonsense"], ["disable", "now"], ["status", "--home", ""], ["demo", "--workloads=0"]),
    *(["inspect", "--stage", "nowhere"], ["inspect", "--since", "yesterday"], ["view", "--since", "soon"]),
    *(["flush", "--timeout", limit] for limit in ("soon", "nan", "-1")),
    *(["view", "-o", "-", "--json"], ["relay"], ["relay", ""], ["relay", "--timeout", "nan", "file"]),
    *(["run", *words] for words in ([], ["--"], [""], ["--", ""], ["--nonsense", "true"])),
    *(
        ["stauts"],
        ["inspect", "--nope"],
        ["inspect", "--since", "/no/spaces/" + "x" * 200],
        ["config", "get"],
    ),
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_usage_is_exit_code_2_and_one_line_that_says_where_to_look(home, arguments):
    done = command(home, *arguments, env={"COLUMNS": "60"})
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("flwr-telemetry: ")
    assert line.endswith("--help`.")
    assert line.count("Did you mean") <= 1
    assert homes.tree(home.parent) == []


@pytest.mark.parametrize("name", ["inspect", "flush"])
def test_a_home_that_cannot_be_used_is_one_sentence(home, name):
    done = command(home, name, env={"FLWR_HOME": None, "HOME": "nowhere"})
    assert done.returncode == 5
    assert done.stderr == "flwr-telemetry: no home directory is known; set HOME or FLWR_HOME\n"
    home.write_text("")
    done = command(home, name)
    assert done.returncode == 5
    assert done.stderr == f"flwr-telemetry: {home} is no directory; move it away or set FLWR_HOME\n"


def test_it_starts_without_what_a_single_command_needs(home):
    code = """
import json, sys
import flwr_telemetryd.cli.app
heavy = {"requests", "urllib3", "psutil", "msgpack", "filelock", "rich.progress"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    assert processes.answers(home, code) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_and_options(home, shell):
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


STREAMS = {"status --json >&-": 0, "forget <&-": 2, "fields | head -1": 0, "nonsense 2>&-": 2}
STREAMS |= {f"{words} >/dev/full": 5 for words in ("status --json", "--help", "--version")}


@pytest.mark.parametrize(("words", "code"), STREAMS.items())
def test_streams_that_are_closed_or_full(home, words, code):
    """A shell, cron or the reader of a pipe may have closed them; a full disk is told in one line."""
    homes.put(home, records.series(1))
    (home / "source").write_text(str(uuid.uuid4()))
    shell = f"{sys.executable} -m flwr_telemetryd.cli {words}; echo ${{PIPESTATUS[0]}} >&3"
    codes = home.parent / "codes"
    done = processes.program(home, ["bash", "-c", f"exec 3>{codes}; {shell}"])
    assert codes.read_text() == f"{code}\n"
    assert len(done.stderr.splitlines()) == int("<&-" in words or "/dev/full" in words)


def test_help_on_commands_and_on_what_concerns_all(home):
    """Every command explains itself by example."""
    for words in (*([name] for name in COMMANDS), ["config", "set"]):
        told = [command(home, *form).stdout for form in (["help", *words], [*words, "--help"])]
        assert f"flwr-telemetry {' '.join(words)}" in told[0].split("Examples:")[1]
        assert (told[0] == told[1], "_command" in told[0]) == (True, False), words
    assert command(home, "help").stdout == command(home, "--help").stdout
    assert "Examples:" in command(home).stdout
    assert command(home, "--version").stdout == f"flwr-telemetry {__version__}\n"
    assert "FLWR_TELEMETRY_UPLOAD" in command(home, "help", "environment").stdout
    assert "126" in command(home, "help", "exit-codes").stdout
    assert command(home, "help", "bogus").returncode == 2
