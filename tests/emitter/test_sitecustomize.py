"""Our ``sitecustomize``, in processes of its own: it adopts, it chains, and it never harms a process."""

import ast
import os
from pathlib import Path

import pytest

import flwr_telemetry
from tests.support import processes

SITE = Path(flwr_telemetry.__file__).with_name("flower") / "site"

# Says whether our hook is in place, and what a program can see of the site's own sitecustomize.
LOOK = """
import sys
print([type(finder).__module__ for finder in sys.meta_path].count("flwr_telemetry.flower"))
"""
LOOK_AT_THEIRS = """
import sys
print(sys.modules.get("sitecustomize"), vars(sys.modules.get("sitecustomize", sys)).get("mark"))
"""


def run(home, code, *entries, option=""):
    """Run code with this module path; the exit code, and what it printed."""
    path = {"PYTHONPATH": os.pathsep.join(map(str, entries))}
    done = processes.run(home, [*option.split(), "-c", code], path)
    return done.returncode, done.stdout, done.stderr


def theirs(tmp_path, text):
    directory = tmp_path / "theirs"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(text)
    return directory


@pytest.mark.parametrize("option", ["", "-S", "-E", "-I"])
def test_every_process_adopts_flower(home, option):
    """The hook is there once; an interpreter told to ignore the path or ``site`` runs without ours."""
    assert run(home, LOOK, SITE, option=option) == (0, "0\n" if option else "1\n", "")


THEIRS = {
    "works": "mark = 'loaded'; print('theirs')",
    "puts_another_in_its_place": "import sys; sys.modules[__name__] = type(sys)('sitecustomize')",
    "replaces_the_path": "import os, sys; sys.path = [p for p in sys.path if p != os.getcwd()]",
    "fails": "raise ValueError('bad luck')",
    "lacks_a_module": "import not_installed_anywhere",
    "looks_absent": "raise ImportError('no', name='sitecustomize')",
    "is_no_python": "def broken(:",
    "ends_the_process": "raise SystemExit(3)",
    "ends_it_at_once": "import os; os._exit(4)",
}


@pytest.mark.parametrize("text", THEIRS.values(), ids=THEIRS)
def test_another_sitecustomize_runs_as_without_us(home, tmp_path, text):
    directory = theirs(tmp_path, text)
    *with_us, error = run(home, LOOK_AT_THEIRS, SITE, directory)
    *without_us, their_error = run(home, LOOK_AT_THEIRS, directory)
    assert with_us == without_us
    # Of a traceback, which only the end of the process shows, all but our place in it.
    assert error.splitlines()[-2:] == their_error.splitlines()[-2:]


def test_without_another_there_is_no_sitecustomize(home):
    if run(home, "import sitecustomize")[0] == 0:
        pytest.skip("this Python comes with one")
    error = run(home, "import sitecustomize", SITE)[2]
    assert error.splitlines()[-1] == "ModuleNotFoundError: No module named 'sitecustomize'"


def test_a_path_that_holds_us_twice_ends(home, tmp_path):
    again = tmp_path / "again"
    again.symlink_to(SITE)
    assert run(home, LOOK, SITE, again, theirs(tmp_path, "print('theirs')")) == (0, "theirs\n1\n", "")


def test_the_path_of_the_process_stays_as_it_was(home, tmp_path):
    """Our directory is where PYTHONPATH says, for programs that hand their path to their children."""
    directory = theirs(tmp_path, "")
    for entries in ((directory, SITE), (SITE, directory)):
        assert run(home, "import sys; print(*sys.path[1:3])", *entries)[1] == "{} {}\n".format(*entries)


@pytest.mark.parametrize("fault", ["raise ImportError", "raise RuntimeError", "def broken(:"])
def test_without_our_package_the_process_runs_on(home, tmp_path, fault):
    """Where our package is missing or broken, a process starts, silently, and the next one is chained to."""
    directory = theirs(tmp_path, "print('theirs')")
    (directory / "flwr_telemetry.py").write_text(fault)
    assert run(home, LOOK, SITE, directory) == (0, "theirs\n0\n", "")


def test_any_python_can_read_it():
    """An interpreter too old for us, which a run may start as well, finds nothing that it cannot parse."""
    ast.parse((SITE / "sitecustomize.py").read_text(encoding="ascii"), feature_version=(3, 4))
