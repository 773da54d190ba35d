"""What the README promises is true: its tables are those of the code, its commands those that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from flwr_telemetry.settings_file import Limits
from tests.support import processes, readme

_ROOT = Path(__file__).resolve().parents[1]
_README = readme.README.read_text(encoding="utf-8")


def _block(name: str) -> str:
    found = re.search(rf"<!-- {name}-command -->\n```sh\n(.*)\n```", _README)
    assert found is not None
    return found[1]


def test_the_table_of_fields_is_made_from_the_declaration() -> None:
    """Every declared field stands in the README, in order, with its type and reason, and no other."""
    assert readme.with_fields(_README) == _README


@pytest.mark.parametrize("name", Limits._fields)
def test_every_limit_is_named(name: str) -> None:
    """Every number that can be set is named in the README."""
    assert f"`{name}`" in _README or f"\n{name} = " in _README


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_two_commands_are_single_lines(name: str) -> None:
    """Each of the two commands makes its own environment and is one line."""
    assert _block(name).startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_ci_runs_the_very_test_command() -> None:
    """`.ci/run` finds the README's test command by its marker."""
    script = r"""sed -n '/<!-- test-command -->/,/^```$/{/^python3 /p}' README.md"""
    assert script in (_ROOT / ".ci" / "run").read_text(encoding="utf-8")
    found = subprocess.run(["sh", "-c", script], cwd=_ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == _block("test")


def test_every_command_of_the_table_exists_and_no_other(home: Path) -> None:
    """The README's table of commands lists just what `flwr-telemetry --help` does, with existing options."""
    listed = dict(re.findall(r"^\| `flwr-telemetry (\w+)[^`]*` \| (.*) \|$", _README, re.MULTILINE))
    told = processes.command(home, "--help", env={"COLUMNS": "120"}).stdout
    assert set(listed) == set(re.findall(r"^│ (\w+)  ", told, re.MULTILINE))
    for name, text in listed.items():
        described = processes.command(home, name, "--help", env={"COLUMNS": "120"}).stdout
        for option in re.findall(r"`(--\w+)", text):
            assert option in described
