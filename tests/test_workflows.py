"""The workflow of a public CI, which no public machine has tried yet."""

import re
import tomllib

import pytest

from tests.support import readme

_FILE = readme.ROOT / ".github/workflows/tests.yml"
if not _FILE.exists():
    pytest.skip("a source distribution has no workflow", allow_module_level=True)
TESTS = _FILE.read_text(encoding="utf-8")


def test_it_tries_the_systems_and_versions_that_the_package_names():
    metadata = tomllib.loads((readme.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(metadata["classifiers"]))
    assert f"python: {str(named).replace(chr(39), chr(34))}" in TESTS
    assert "os: [ubuntu-latest, macos-latest, windows-latest]" in TESTS


def test_an_action_is_pinned_and_nothing_may_be_written():
    """A tag can be moved to other code; a hash cannot."""
    used = re.findall(r"uses: (.*)", TESTS)
    assert used
    assert [line for line in used if not re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+", line)] == []
    assert re.findall(r"^permissions:\n(?:  .*\n)*", TESTS, re.MULTILINE) == [
        "permissions:\n  contents: read\n"
    ]
    assert TESTS.count("persist-credentials: false") == TESTS.count("actions/checkout@")


def test_it_runs_the_test_command_of_the_readme():
    """As `.ci/run` does, by letter; so the same line of sed must find it."""
    found = re.search(r"sed -n '(/<!-- test-command.*?)' README\.md", TESTS)
    in_ci = re.search(r"sed -n '(/<!-- test-command.*?)' README\.md", (readme.ROOT / ".ci/run").read_text())
    assert found[1].replace(";}", "}") == in_ci[1]
