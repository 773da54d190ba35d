"""Flower's own telemetry, in processes that do not adopt it: off is off, and the rest is told."""

import sys
import sysconfig
from pathlib import Path

import pytest

from tests.e2e import sides
from tests.e2e.gateway import Gateway
from tests.support import homes, processes
from tests.support.commands import ran

pytestmark = pytest.mark.e2e

OURS = ("flwr_telemetry", "_editable_impl_flwr_telemetry", "_flwr_telemetry", "__editable__")
CODE = f"""
from {"flwr.supercore" if sides.RELEASE >= (1, 32) else "flwr.common"}.telemetry import EventType, event
try:
    print(event(EventType.PING).result(timeout=60))
except Exception as error:
    print(type(error).__name__)
"""
STOP = "export FLWR_TELEMETRY_ENABLED=0"


@pytest.fixture(scope="module")
def without_us(tmp_path_factory):
    """Give the interpreter of an environment with Flower and all that it needs, but without this package."""
    root = tmp_path_factory.mktemp("without-us")
    processes.run(root, ["-m", "venv", "--without-pip", str(root / "venv")])
    theirs = root / "packages"
    theirs.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(OURS):
            (theirs / path.name).symlink_to(path)
    (site,) = root.glob("venv/lib/python*/site-packages")
    (site / "flower.pth").write_text(f"{theirs}\n")
    return str(root / "venv" / "bin" / "python")


@pytest.fixture
def gateway(tmp_path):
    with Gateway(tmp_path) as running:
        yield running


def flower(home, gateway, *words, **env):
    """Run a Flower that reports one event; the words come before its code."""
    variables = {**processes.NEVER, **gateway.environment, "FLWR_DISABLE_UPDATE_CHECK": "1", **env}
    return processes.program(home, [*words, "-c", CODE], variables)


def said_by_run(done):
    """The lines of `run` itself. A SuperLink of another test may run at this time; that is said rightly."""
    said = [line for line in done.stderr.splitlines() if line.startswith("flwr-telemetry run:")]
    return [line for line in said if "SuperLink" not in line]


def script(directory, first_line):
    """Make a program like Flower's, by its first line."""
    path = directory / "flwr"
    path.write_text(f"#!{first_line}\nimport sys\nexec(sys.argv[2])\n")
    path.chmod(0o700)
    return [str(path)]


@pytest.mark.parametrize(
    ("how", "no"),
    [
        *((how, "a file") for how in ("our environment", "-I", "-S -E", "env python", "a script")),
        ("another environment", "DO_NOT_TRACK"),
    ],
)
def test_run_switches_off_a_flower_that_it_cannot_adopt(home, gateway, without_us, tmp_path, no, how):
    """Nothing connects, whatever interpreter the command starts, and nothing is said against it."""
    env = {} if no == "a file" else {no: "1"}
    if not env:
        ran(home, "disable")
    words = {
        "our environment": [sys.executable],
        "-I": [sys.executable, "-I"],
        "-S -E": [sys.executable, "-E", "-P"],
        "another environment": [without_us],
        "env python": ["env", "A=b", without_us],
        "a script": script(tmp_path, without_us),
    }[how]
    done = flower(home, gateway, *sides.OURS, *words, **env)
    assert (done.returncode, done.stdout) == (0, "disabled\n"), done.stderr
    assert gateway.asked_for == []
    assert said_by_run(done) == []


@pytest.mark.parametrize("how", ["another environment", "-I", "-E", "-S", "env python", "a script"])
def test_run_says_where_flower_reports_by_itself(home, gateway, without_us, tmp_path, how):
    """With telemetry on: one line names the interpreter, the reason and two remedies; the command runs."""
    homes.configure(home)
    words, named = {
        "another environment": ([without_us], without_us),
        "-I": ([sys.executable, "-I"], "-I"),
        "-E": ([sys.executable, "-uE"], "-E"),
        "-S": ([sys.executable, "-S"], "-S"),
        "env python": (["env", "-u", "PYTHONPATH", sys.executable], sys.executable),
        "a script": (script(tmp_path, f"{without_us} -E"), without_us),
    }[how]
    done = flower(home, gateway, *sides.OURS, *words)
    (line,) = said_by_run(done)
    assert "Flower reports by itself in" in line
    assert named in line
    assert STOP in line
    assert homes.segments(home) == []
    if how != "-S":  # which finds no Flower either
        assert gateway.asked_for


@pytest.mark.parametrize("no", ["a file", "DO_NOT_TRACK"])
def test_a_plain_flower_is_named_with_the_line_that_stops_it(home, gateway, no):
    """It still reports. `disable`, `status` and `doctor` say so, and the line that they name is true."""
    env = {} if no == "a file" else {no: "1"}
    told = [ran(home, "disable")] if no == "a file" else []
    told += [ran(home, name, env=env) for name in ("status", "doctor")]
    flower(home, gateway, sys.executable, **env)
    assert gateway.asked_for
    release = ".".join(map(str, sides.RELEASE))
    for done in told:
        assert f"Flower {release} in this environment: not adopted" in done.stdout
        assert STOP in done.stdout
    before = len(gateway.asked_for)
    name, _, value = STOP.removeprefix("export ").partition("=")
    assert flower(home, gateway, sys.executable, **env, **{name: value}).stdout == "disabled\n"
    assert len(gateway.asked_for) == before
    for name in ("status", "doctor"):
        assert STOP not in ran(home, name, env={**env, "FLWR_TELEMETRY_ENABLED": "0"}).stdout


def test_an_adopted_flower_is_named_as_such(home, gateway, tmp_path):
    """In an environment whose sitecustomize has the two lines, `disable` reaches every Flower."""
    (tmp_path / "sitecustomize.py").write_text(
        "import flwr_telemetry.flower\nflwr_telemetry.flower.install()\n"
    )
    site = {"PYTHONPATH": str(tmp_path)}
    for name in ("disable", "status", "doctor"):
        done = ran(home, name, env=site)
        assert "in this environment: adopted" in done.stdout
        assert STOP not in done.stdout
    assert flower(home, gateway, sys.executable, **site).stdout == "disabled\n"
    assert gateway.asked_for == []
