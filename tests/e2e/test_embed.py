"""Flower with the change of a pull request: its size, what it leaves, and the tests that go with it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flwr_telemetry.version import __version__
from tests.e2e import embed, releases, sides
from tests.support import processes, readme

TELEMETRY = "flwr/supercore/telemetry.py"


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A changed copy of the installed Flower, and the table of the change."""
    if sides.RELEASE < (1, 32):
        pytest.skip("its telemetry is elsewhere")
    if sides.EMBEDDED:
        return Path(sides.EMBEDDED)
    return releases.embedded(sys.executable, tmp_path_factory.mktemp("embedded") / "flower")


def test_the_module_keeps_its_enum_and_nothing_else(changed):
    """The enum stays as Flower has it, letter by letter. One more import is all that is added."""
    text = (changed / TELEMETRY).read_text()
    assert text[text.index("class EventType") :] in (releases.site(sys.executable) / TELEMETRY).read_text()
    docstring, *imports, enum = ast.parse(text).body
    assert isinstance(docstring, ast.Expr)
    assert enum.name == "EventType"
    lines = [ast.unparse(line) for line in imports]
    assert lines[-1] == "from flwr_telemetry import event as event"
    assert lines[:-1] == ["from enum import Enum, auto", "from typing import Any"]


@pytest.mark.heavy
def test_every_changed_module_loads_and_none_waits(changed):
    site = releases.site(sys.executable)
    texts = {path: path.read_text() for path in changed.glob("flwr/**/*.py")}
    touched = [path for path, text in texts.items() if text != (site / path.relative_to(changed)).read_text()]
    assert len(touched) == 6
    for path in touched:
        assert not re.search(r"event_future|Future\[|TELEMETRY_TIMEOUT|future\.result", texts[path])
    names = [".".join(path.relative_to(changed).with_suffix("").parts) for path in touched]
    code = f"import {', '.join(name for name in names)}; print(flwr.__file__)"
    done = processes.run(changed, ["-c", code], {"PYTHONPATH": str(changed)})
    assert done.stdout.startswith(str(changed)), done.stderr


def test_the_dependency_is_one_line_that_admits_this_version(changed):
    (metadata,) = changed.glob("flwr-*.dist-info/METADATA")
    lines = [line for line in metadata.read_text().splitlines() if "flwr-telemetry" in line]
    assert lines == [f"Requires-Dist: {embed.DEPENDENCY}"]
    least, below = re.findall(r"[<>]=?([\d.]+)", embed.DEPENDENCY)
    version, least, below = (
        [int(n) for n in text.split(".")] for text in (__version__.partition("+")[0], least, below)
    )
    assert least <= version < below


@pytest.mark.heavy
def test_the_tests_for_flowers_repository_pass(changed, tmp_path):
    """As a file of that name beside the module."""
    (tmp_path / "telemetry_test.py").write_bytes(embed.OWN_TESTS.read_bytes())
    env = {"PYTHONPATH": f"{tmp_path}:{changed}"}
    done = processes.run(tmp_path, ["-m", "unittest", "-v", "telemetry_test"], env)
    assert done.returncode == 0, done.stderr


@pytest.mark.heavy
def test_the_test_of_waiting_fails_with_flowers_own_sender(tmp_path):
    (tmp_path / "telemetry_test.py").write_bytes(embed.OWN_TESTS.read_bytes())
    with sides.side(tmp_path) as theirs:
        theirs.changes["PYTHONPATH"] = f"{sides.TRAP}:{tmp_path}"
        status, printed = theirs.run("-m", "unittest", "telemetry_test.TelemetryTest.test_not_blocking")
        assert status == 1
        assert "socket.connect" in printed


# A structure that has changed

SMALL = {
    "small/flwr/__init__.py": "",
    "small/flwr/supercore/__init__.py": "",
    f"small/{TELEMETRY}": '''"""Words."""

import os
from enum import Enum


class EventType(str, Enum):
    PING = "PING"


def event(event_type, event_details=None):
    return os.getpid()
''',
    "small/flwr/ends.py": """from flwr.supercore.telemetry import EventType, event


def end():
    told = event(EventType.PING)
    try:
        told.result()
    except Exception:
        pass
""",
    "small/pyproject.toml": "dependencies = [\n]\n",
}
BREAKS = [
    (TELEMETRY, "(str, Enum)", "(Enum)", "one class EventType(str, Enum)"),
    (TELEMETRY, "event(event_type, ", "event(kind, ", "one function event(event_type, event_details)"),
    (TELEMETRY, '"""Words."""', "", "a docstring"),
    (TELEMETRY, 'PING = "PING"', "PING = event.__name__", "EventType without a use of event"),
    ("flwr/ends.py", "EventType, event\n", "EventType, event, state\n", "EventType and event alone"),
    ("flwr/ends.py", "  told.result()\n", "  told.result()\n          print()\n", "the wait alone"),
    ("flwr/ends.py", "        pass", "        raise", "the wait in a try that passes all over"),
    ("flwr/ends.py", "    if told", "    print(told)\n    if told", "no other use of told"),
    (
        "flwr/ends.py",
        "    told = event(EventType.PING)",
        "    told = [event(EventType.PING)]",
        "in a variable",
    ),
    ("pyproject.toml", "dependencies", "needs", "a list of dependencies"),
    ("pyproject.toml", "[\n", '[\n    "flwr-telemetry",\n', "no dependency on flwr-telemetry yet"),
]
ASKED = SMALL | {
    "small/flwr/ends.py": SMALL["small/flwr/ends.py"]
    .replace("    try:", "    if told:\n      try:")
    .replace("        told.r", "          told.r")
    .replace("    except Exception:\n        pass", "      except Exception:\n          pass"),
}


def written(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "small"


@pytest.mark.parametrize(("file", "old", "new", "expected"), BREAKS, ids=[row[-1] for row in BREAKS])
def test_another_structure_is_named_and_nothing_is_written(monkeypatch, tmp_path, file, old, new, expected):
    name = f"small/{file}"
    assert old in ASKED[name]
    files = {**ASKED, name: ASKED[name].replace(old, new)}
    root = written(tmp_path, files)
    monkeypatch.setattr(sys, "argv", ["embed", str(root)])
    with pytest.raises(SystemExit) as told:
        embed.main()
    assert file in told.value.code
    assert expected in told.value.code
    assert {name: (tmp_path / name).read_text() for name in files} == files


def test_each_known_form_of_a_wait_goes(tmp_path):
    together = (
        SMALL["small/flwr/ends.py"]
        .replace("    told = ", "    try:\n        told = ")
        .replace("\n    try:\n        told.r", "\n        told.r")
    )
    at_once = (
        "from flwr.supercore.telemetry import event\n\n\ndef end():\n    event('PING').result(timeout=4)\n"
    )
    for number, text in enumerate([ASKED["small/flwr/ends.py"], together, at_once]):
        root = written(tmp_path / str(number), {**SMALL, "small/flwr/ends.py": text})
        assert embed.change(root)[root / "flwr/ends.py"].endswith(("(EventType.PING)\n", "event('PING')\n"))
        assert "result" not in embed.change(root)[root / "flwr/ends.py"]


@pytest.mark.heavy
@pytest.mark.parametrize("release", ["==1.41.0", "==1.42.0", ""])
def test_the_releases_of_the_index_change_as_the_readme_says(tmp_path, release):
    """The newest too: where its structure has changed, the error says so before a maintainer does."""
    pip = [sys.executable, "-m", "pip"]
    command = [*pip, "download", "-q", "--no-deps", "-d", tmp_path, f"flwr{release}"]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("pip cannot get it")
    (wheel,) = tmp_path.glob("flwr-*.whl")
    root = tmp_path / "unpacked"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, root], check=True)
    assert embed.table(root, embed.change(root)) in readme.EMITTER.read_text()


def test_the_readme_has_the_size_of_the_change(changed):
    """Its table is what `--stat` prints."""
    site = releases.site(sys.executable)
    rows = embed.table(
        site, {path: text for path, text in embed.change(site).items() if "flwr_d" not in str(path)}
    )
    assert rows in readme.EMITTER.read_text()
