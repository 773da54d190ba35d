"""The examples of the tests' README are run by letter, each in a copy, as somebody would who contributes."""

import re
import shutil
import sysconfig
import venv

import pytest

from tests.support import processes, readme

_EXAMPLE = re.compile(r"<!-- example: ([\w. ]+) -->\n```sh\n(.*?)```\n", re.DOTALL)
EXAMPLES = _EXAMPLE.findall(readme.TESTS.read_text(encoding="utf-8"))
_IGNORED = shutil.ignore_patterns("__pycache__", ".venv", "build")


@pytest.fixture
def copy(tmp_path):
    """Give a copy of the sources with an environment that finds the packages there, and all others here."""
    directory = tmp_path / "copy"
    for name in ("emitter", "daemon", "systemd", "tests"):
        shutil.copytree(readme.ROOT / name, directory / name, ignore=_IGNORED)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(readme.ROOT / name, directory)
    venv.create(directory / ".venv", symlinks=True)
    (site,) = (directory / ".venv").glob("lib/python*/site-packages")
    paths = [directory / "emitter", directory / "daemon", sysconfig.get_path("purelib")]
    (site / "copy.pth").write_text("".join(f"{path}\n" for path in paths))
    return directory


def test_there_is_an_example_of_each_kind():
    """An event type, a field, a fault and a sink, each in a few lines."""
    assert len(EXAMPLES) == 4
    assert all(len(script.splitlines()) <= 15 for _, script in EXAMPLES)


@pytest.mark.heavy
@pytest.mark.parametrize(("names", "script"), EXAMPLES, ids=[names for names, _ in EXAMPLES])
def test_an_example_is_a_whole_change(home, copy, names, script):
    """It ends well, and so do the tests that it names."""
    done = processes.program(home, ["sh", "-e", "-c", script], cwd=copy)
    assert done.returncode == 0, done.stderr
    tests = [next(copy.glob(f"tests/**/{name}")) for name in names.split()]
    python = copy / ".venv/bin/python"
    done = processes.program(
        home, [python, "-c", "import flwr_telemetryd as it; print(it.__file__)"], cwd=copy
    )
    assert done.stdout.startswith(str(copy))
    command = [python, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *tests]
    done = processes.program(home, command, cwd=copy, timeout=4 * processes.PATIENCE_S)
    assert done.returncode == 0, done.stdout
