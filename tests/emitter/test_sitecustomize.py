"""Our ``sitecustomize``, in processes of its own: it adopts, it chains, and it never harms a process."""

import ast
import os
import textwrap
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


def python_path(*entries):
    return {"PYTHONPATH": os.pathsep.join(map(str, entries))}


def theirs(tmp_path, text):
    directory = tmp_path / "theirs"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(textwrap.dedent(text))
    return directory


@pytest.mark.parametrize("option", ["", "-S", "-E", "-I"])
def test_every_process_adopts_flower(home, option):
    """The hook is there once; an interpreter told to ignore the path or ``site`` runs without ours."""
    done = processes.run(home, [*option.split(), "-c", LOOK], python_path(SITE))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n" if option else "1\n", "")


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
    with_us, without_us = (
        processes.run(home, ["-c", LOOK_AT_THEIRS], python_path(*entries))
        for entries in ((SITE, directory), (directory,))
    )
    assert (with_us.returncode, with_us.stdout) == (without_us.returncode, without_us.stdout)
    # Of a traceback, which only the end of the process shows, all but our place in it.
    assert with_us.stderr.splitlines()[-2:] == without_us.stderr.splitlines()[-2:]


def test_without_another_there_is_no_sitecustomize(home):
    if processes.run(home, ["-c", "import sitecustomize"]).returncode == 0:
        pytest.skip("this Python comes with one")
    done = processes.run(home, ["-c", "import sitecustomize"], python_path(SITE))
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'sitecustomize'"


def test_a_path_that_holds_us_twice_ends(home, tmp_path):
    again = tmp_path / "again"
    again.symlink_to(SITE)
    done = processes.run(home, ["-c", LOOK], python_path(SITE, again, theirs(tmp_path, "print('theirs')")))
    assert (done.returncode, done.stdout, done.stderr) == (0, "theirs\n1\n", "")


def test_the_path_of_the_process_stays_as_it_was(home, tmp_path):
    """Our directory is where PYTHONPATH says, for programs that hand their path to their children."""
    directory = theirs(tmp_path, "")
    for entries in ((directory, SITE), (SITE, directory)):
        done = processes.run(home, ["-c", "import sys; print(*sys.path[1:3])"], python_path(*entries))
        assert done.stdout == "{} {}\n".format(*entries)


@pytest.mark.parametrize("fault", ["raise ImportError", "raise RuntimeError", "def broken(:"])
def test_without_our_package_the_process_runs_on(home, tmp_path, fault):
    """Where our package is missing or broken, a process starts, silently, and the next one is chained to."""
    directory = theirs(tmp_path, "print('theirs')")
    (directory / "flwr_telemetry.py").write_text(fault)
    done = processes.run(home, ["-c", LOOK], python_path(SITE, directory))
    assert (done.returncode, done.stdout, done.stderr) == (0, "theirs\n0\n", "")


def test_any_python_can_read_it():
    """An interpreter too old for us, which a run may start as well, finds nothing that it cannot parse."""
    ast.parse((SITE / "sitecustomize.py").read_text(encoding="ascii"), feature_version=(3, 4))
