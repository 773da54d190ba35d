"""The rig of three kernels says why it cannot run; what it finds is in ``systemd/README.md``."""

import subprocess
import sys

from tests.nfs import __main__ as program
from tests.nfs.verdict import read_told


def test_it_skips_where_its_tools_are_missing(tmp_path):
    command = [sys.executable, "-m", "tests.nfs", "run", "adopt"]
    told = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert told.returncode == program.SKIPPED
    assert told.stdout.startswith("tests.nfs: skipped: ")
    assert told.stdout.count("\n") == 1


def test_what_ci_runs_are_scenes_with_options_that_exist():
    for words in program.CI:
        options = program.parser().parse_args(["run", *words.split()])
        assert options.scene in program.SCENES


def test_notes_of_writers():
    events, sentences = read_told("spooled 120 1.5 a-0\n# SpoolSlowError: wait\nmemory 40000 2.5 a-1\n")
    assert [(one.word, one.took_us, one.tag) for one in events] == [
        ("spooled", 120, "a-0"),
        ("memory", 40000, "a-1"),
    ]
    assert sentences == {"SpoolSlowError: wait"}
