"""Mutations of the packages spool, outbox and delivery, and a program that tells which ones the tests kill.

    python -m tests.mutations            all of them: about half an hour
    python -m tests.mutations retention  those of modules whose path holds one of these words

``mutations.jsonl`` has one mutation a line: it replaces one piece of one module. The program copies the
checkout, and runs the tests on the copy, once for each mutation: first those of the module's package, then
those of the contract and of faults. A mutation that no test notices survives. The exit status is 1 if one
survives that is not known to.
"""

import json
import shutil
import site
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 900.0
CHECKOUT = ("emitter", "daemon", "tests", "systemd", "pyproject.toml", "README.md")

FIRST = [
    f"tests/daemon/{one}"
    for one in "spool outbox delivery sidecar/test_loop.py sidecar/test_adoption.py".split()
]
THEN = """
    tests/emitter/test_record.py
    tests/emitter/test_locks.py
    tests/contract/test_bursts.py
    tests/contract/test_answers.py
    tests/contract/test_caps.py
    tests/faults/test_damaged_outbox.py
    tests/faults/test_damaged_segments.py
    tests/faults/test_credentials.py
    tests/faults/test_stopped.py
    tests/faults/test_kills.py
""".split()


def main(words):
    """Try the mutations whose path holds one of ``words``; the exit status."""
    lines = Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    mutations = [
        one for one in map(json.loads, lines) if not words or any(word in one["path"] for word in words)
    ]
    killed, is_new = 0, False
    with tempfile.TemporaryDirectory(prefix="mutations-") as scratch:
        copy = Path(scratch) / "checkout"
        copy.mkdir()
        for name in CHECKOUT:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        python = environment(Path(scratch) / "venv", copy)
        for one in mutations:
            began = time.monotonic()
            is_killed = is_noticed(python, copy, **one)
            verdict = "killed  " if is_killed else "SURVIVED"
            print(
                f"{verdict} {time.monotonic() - began:4.0f} s  {one['path']}: {one['text'].strip()[:60]!r}",
                flush=True,
            )
            killed += is_killed
            is_new |= not (is_killed or one.get("survives"))
    print(f"{killed} of {len(mutations)} mutations are killed")
    return int(is_new)


def environment(place, copy):
    """An interpreter that finds the copy first, and then the packages of this environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python3*/site-packages")
    sources = [str(copy / "emitter"), str(copy / "daemon")]
    lines = [f"import sys; sys.path[1:1] = {sources!r}", *site.getsitepackages()]
    (packages / "mutations.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place / "bin" / "python"


def is_noticed(python, copy, path, text, replacement, **_known):
    """Whether a test fails on the mutated copy, or never ends."""
    module = copy / path
    whole = module.read_text(encoding="utf-8")
    if text not in whole:
        raise LookupError(f"{path} does not hold {text!r}")
    module.write_text(whole.replace(text, replacement, 1), encoding="utf-8")
    package = f"tests/daemon/{Path(path).parent.name}"
    own = (
        [package]
        if (copy / package).is_dir()
        else ["tests/emitter/test_locks.py", "tests/emitter/test_files.py"]
    )
    try:
        return any(fails(python, copy, tests) for tests in (own, FIRST, THEN))
    finally:
        module.write_text(whole, encoding="utf-8")


def fails(python, copy, tests):
    command = [python, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=copy, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return True
    if done.returncode == pytest.ExitCode.USAGE_ERROR:
        raise ValueError(done.stderr.decode())
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
