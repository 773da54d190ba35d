"""The interpreter that a command line starts, and whether Flower is adopted in it."""

import os
import sys
from pathlib import Path

import pytest

from flwr_telemetryd.admin import interpreter
from flwr_telemetryd.cli.run import environment_for

HERE = os.path.dirname(sys.executable)
PATH = {"PATH": f"{HERE}:/usr/bin:/bin"}
PYTHON = os.path.join(HERE, "python")


def options(*command, **env):
    found = interpreter.find(command, {**PATH, **env})
    return None if found is None else "".join(option[1:] for option in found.options)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        *((f"python {words}", "") for words in ("sim.py -I", "-c -I", "-m pytest -S", "- -I")),
        ("python -uIc pass", "I"),
        ("python -BsE -W error -S x.py", "sES"),
        ("python -Werror -X dev -Xfrozen_modules -I", "I"),
        ("python --check-hash-based-pycs never -I", "I"),
        ("env python -I", "I"),
        ("env A=b -u C -uD python -I", "I"),
        ("nice -n 10 timeout 5 env python -S", "S"),
        ("taskset -c 0 python", ""),
        *((words, None) for words in ("sh -c python", "nice sh -c python", "no-such-program python")),
        *((words, None) for words in ("env", "nice", "/")),
    ],
)
def test_options_that_decide_are_found_behind_what_prepares_a_start(words, found):
    assert options(*words.split()) == found


def test_the_variables_are_those_that_env_leaves():
    words = ["env", "-i", "A=1", "--unset=A", "-S", "B='x y' C=3", "D=4", PYTHON]
    found = interpreter.find(words, PATH)
    assert found.environ == {"B": "x y", "C": "3", "D": "4"}


SCRIPTS = {
    "plain": f"#!{PYTHON}\n",
    "with an option": f"#! {PYTHON} -I\n",
    "by env": "#!/usr/bin/env python\n",
    "by env, split": "#!/usr/bin/env -S python -I -s\n",
    "pip's trampoline": f"#!/bin/sh\n'''exec' \"{PYTHON}\" \"$0\" \"$@\"\n' '''\nimport re\n",
}


def program(path, text):
    path.write_text(text)
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_is_what_its_first_line_says(tmp_path, text):
    found = interpreter.find([program(tmp_path / "a script", text), "-S"], PATH)
    assert Path(found.program).samefile(PYTHON)
    assert "".join(found.options) == ("-I-s" if "-s" in text else "-I" if "-I" in text else "")


OTHERS = [
    "",
    "#!\n",
    "#!/bin/sh\necho\n",
    "#!/no/such/python\n",
    "\x7fELF",
    "#!/usr/bin/env -S '\n",
    "#!{}\n",
]


@pytest.mark.parametrize("text", OTHERS)
def test_other_programs_start_no_interpreter_that_is_known(tmp_path, text):
    path = tmp_path / "program"
    text = text.format(path)  # the last one is its own interpreter
    assert interpreter.find([program(path, text)], PATH) is None


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        *((words, True) for words in ([PYTHON], [PYTHON, "-u", "-s"], ["env", "A=b", PYTHON])),
        *((words, False) for words in ([PYTHON, "-I"], ["env", "-u", "PYTHONPATH", PYTHON])),
    ],
)
def test_an_interpreter_is_asked(words, answer):
    environ = environment_for({**os.environ, **PATH})
    found = interpreter.find(words, environ)
    assert interpreter.adopts(found, environ) is answer


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\nexec sleep 600\n", "no program"])
def test_an_interpreter_that_does_not_answer_is_not_judged(tmp_path, monkeypatch, text):
    monkeypatch.setattr(interpreter, "ASK_S", 0.2)
    found = interpreter.find([program(tmp_path / "python", text), "-I"], PATH)
    assert interpreter.adopts(found, PATH) is None
