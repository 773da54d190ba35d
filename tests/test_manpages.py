"""The manual pages are made from what `--help` says, and no formatter complains of them."""

import shutil
import subprocess
import sys

import pytest

from tests.support import readme

MAN = readme.ROOT / "daemon" / "man"
PAGES = sorted((MAN / "man1").glob("*.1"))


def test_they_are_those_of_the_commands(tmp_path):
    """After a change of a help text: `python daemon/man/make.py`."""
    subprocess.run([sys.executable, MAN / "make.py", tmp_path / "man1"], check=True)
    made = {path.name: path.read_text(encoding="ascii") for path in (tmp_path / "man1").iterdir()}
    assert {path.name: path.read_text(encoding="ascii") for path in PAGES} == made


@pytest.mark.parametrize("command", [("man", "--warnings", "-E", "UTF-8", "-l"), ("mandoc", "-T", "lint")])
def test_a_formatter_has_nothing_to_say(command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = [subprocess.run([*command, page], capture_output=True, text=True, check=False) for page in PAGES]
    told = [one.stderr + one.stdout * (command[0] == "mandoc") for one in done]
    lines = [line for text in told for line in text.splitlines()]
    assert [line for line in lines if "referenced manual not found" not in line] == []
