"""What the READMEs promise is true: their tables are those of the code, their commands and links exist."""

import re
import subprocess
from pathlib import Path

import pytest

from flwr_telemetry.settings_file import NAMES, Limits
from flwr_telemetryd import outbox, spool
from tests.support import processes, readme

_FIRST, _DAEMON = (path.read_text(encoding="utf-8") for path in (readme.FIRST, readme.DAEMON))
_TEST_FILES = list((readme.ROOT / "tests").rglob("test_*.py"))
_TESTS = "".join(path.read_text(encoding="utf-8") for path in _TEST_FILES)


def _block(name):
    found = re.search(rf"<!-- {name}-command -->\n```sh\n(.*)\n```", _FIRST)
    assert found is not None
    return found[1]


def _commands(text):
    return dict(re.findall(r"^\| `flwr-telemetry (\w+)[^`]*` \| (.*) \|$", text, re.MULTILINE))


def _anchors(page):
    """Give the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_first_page_is_short():
    """It is for everybody, and names the commands of a day; what concerns some has a page of its own."""
    assert len(_FIRST.splitlines()) <= 80
    assert len(_commands(_FIRST)) == 5
    assert _commands(_FIRST).keys() < _commands(_DAEMON).keys()


def test_the_table_of_otlp_is_that_of_the_requests():
    text = readme.SYSTEMD.read_text(encoding="utf-8")
    assert readme.with_mapping(text) == text


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_row(name):
    """Every number that can be set stands in the daemon's README with its default."""
    default = str(Limits._field_defaults.get(name, ""))
    cell = {"None": "120", "True": "true"}.get(default, default)
    row = rf"`{name}` \| {cell} \|" if name in Limits._fields else rf"[^|]*`{name}`[^|]* \| "
    assert re.search(rf"^\| {row}", _DAEMON, re.MULTILINE)


def test_every_check_of_the_doctor_has_a_row():
    made = r"""\b(?:ok|note|fault|skipped|Check|fault_of)\(\s*"([A-Za-z ]+)\""""
    sources = (readme.ROOT / "daemon/flwr_telemetryd/admin/doctor").glob("*.py")
    checks = {name for source in sources for name in re.findall(made, source.read_text(encoding="utf-8"))}
    table = _DAEMON.partition("| check | it tells when |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| ([A-Za-z ]+) \|", table, re.MULTILINE)) == checks


def test_the_two_commands_are_single_lines_and_ci_runs_the_very_test_command():
    for name in ("demo", "test"):
        assert _block(name).startswith("python3 -m venv .venv && .venv/bin/pip install ")
    script = r"""sed -n '/<!-- test-command -->/,/^```$/{/^python3 /p}' README.md"""
    assert script in (readme.ROOT / ".ci" / "run").read_text(encoding="utf-8")
    found = subprocess.run(["sh", "-c", script], cwd=readme.ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == _block("test")


def test_every_command_of_the_table_exists_and_no_other(home):
    """The daemon's README lists the commands of `flwr-telemetry --help`, with options that exist."""
    listed = _commands(_DAEMON)
    told = processes.command(home, "--help", env={"COLUMNS": "120"}).stdout
    assert set(listed) == set(re.findall(r"^│ (\w+)  ", told, re.MULTILINE))
    for name, text in listed.items():
        described = processes.command(home, name, "--help", env={"COLUMNS": "120"}).stdout
        for option in re.findall(r"`(--\w+)", text):
            assert option in described


@pytest.mark.parametrize("page", readme.ALL, ids=lambda page: page.parent.name)
def test_every_link_leads_somewhere(page):
    """A link between the pages names a file, and a heading of it, that exist."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    assert links
    for name, anchor in links:
        target = page.parent / name if name else page
        assert target.exists(), name
        assert not anchor or anchor in _anchors(target), anchor


@pytest.mark.parametrize(("path", "name"), re.findall(r"`(\w+(?:/\w+)+\.py)`(?:, `(\w+)`)?", _DAEMON))
def test_every_module_that_the_daemons_readme_names_exists(path, name):
    text = (readme.ROOT / "daemon" / "flwr_telemetryd" / path).read_text(encoding="utf-8")
    assert not name or f"\ndef {name}(" in text


def test_each_read_that_decides_on_a_shared_home_has_its_test():
    """The faces of the packages that own the races list these reads, and name the tests."""
    names = {path.name for path in _TEST_FILES}
    for face in (spool, outbox):
        reads = Path(face.__file__).read_text(encoding="utf-8").split("\n# - ")[1:]
        assert len(reads) >= 8
        for read in reads:
            found = re.findall(r"``(test_\w+(?:\.py)?)``", read)
            assert found or "the same test" in read
            assert all(name in names or f"def {name}(" in _TESTS for name in found), read


def test_each_promise_against_an_attacker_names_tests_that_exist():
    table = _DAEMON.partition("| who attacks | what is promised | held by |\n| --- | --- | --- |\n")[2]
    rows = table.partition("\n\n")[0].splitlines()
    assert len(rows) >= 10
    for row in rows:
        names = re.findall(r"`([^`]+)`", row.split(" | ")[2])
        assert names
        for name in names:
            assert f"def {name}(" in _TESTS or (readme.ROOT / name).is_file(), name


def test_the_emitters_face_lists_each_of_its_modules_once():
    package = readme.ROOT / "emitter" / "flwr_telemetry"
    face = (
        (package / "__init__.py").read_text(encoding="utf-8").partition("by subject;")[2].partition('"""')[0]
    )
    there = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    there |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}

    named = re.findall(r"\w+(?:\.py|/)", face.partition("\n\n")[2])
    assert sorted(named) == sorted(there)


def test_every_function_that_the_emitters_readme_names_exists():
    table = (
        readme.EMITTER.read_text(encoding="utf-8")
        .partition("| question | answer |\n| --- | --- |\n")[2]
        .partition("\n\n")[0]
    )
    found = re.findall(r"`([\w/]+\.py)`, `(\w+)`(?: and `(\w+)`)?", table)
    assert len(found) >= len(table.splitlines())
    for path, *names in found:
        text = (readme.ROOT / "emitter" / "flwr_telemetry" / path).read_text(encoding="utf-8")
        assert all(f"def {name}(" in text for name in names if name), path
