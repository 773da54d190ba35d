"""The objections in the emitter's README: the tests that its rows name exist, and some of them are here."""

import json
import re
import subprocess
import sys
from importlib import metadata

import pytest

from tests.support import readme

_TABLE = readme.EMITTER.read_text(encoding="utf-8").partition("| objection | answer | held by |\n")[2]
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", _TABLE.partition("\n\n")[0], re.MULTILINE)[1:]

NEW = {"filelock", "msgpack", "psutil"}
"""What Flower does not depend on."""

PERMISSIVE = {"MIT", "Apache-2.0", "BSD-3-Clause"}
MIB = 1024 * 1024

PLATFORMS = "manylinux_2_28_x86_64 manylinux_2_28_aarch64 musllinux_1_2_x86_64 macosx_11_0_arm64 win_amd64"


def needed(package):
    """The names of what a package needs without extras."""
    lines = [line for line in metadata.requires(package) or () if "extra ==" not in line]
    return {re.match(r"[\w.-]+", line)[0].lower() for line in lines}


def test_no_row_is_without_its_tests():
    assert len(ROWS) > 10
    for objection, answer, held_by in ROWS:
        tests = re.findall(r"`([\w/.]+)::(\w+)`", held_by)
        assert tests, objection
        assert answer.endswith(".")
        for file, name in tests:
            assert f"def {name}(" in (readme.ROOT / file).read_text(encoding="utf-8"), name


def test_the_packages_are_small():
    files = [path for name in ("emitter", "daemon") for path in (readme.ROOT / name).glob("flwr_*/**/*")]
    code = [path for path in files if path.is_file() and path.suffix != ".pyc"]
    assert {path.suffix for path in code} <= {".py", ".typed", ".json", ".css", ".js", ".html", ".svg"}
    assert sum(path.stat().st_size for path in code) < 1.2 * MIB


def test_few_dependencies_are_new():
    ours, flowers = needed("flwr-telemetry"), needed("flwr")
    assert ours - flowers == NEW
    assert needed("ray") & NEW == NEW - {"psutil"}


def test_every_licence_is_permissive():
    for package in ("flwr-telemetry", *needed("flwr-telemetry")):
        told = metadata.metadata(package)
        assert (told["License-Expression"] or told["License"]) in PERMISSIVE, package


def pip(*words):
    command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--no-deps", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def index():
    done = pip("--ignore-installed", "msgpack")
    if done.returncode:
        pytest.skip(f"pip reaches no index: {done.stderr.strip().splitlines()[-1]}")


@pytest.mark.heavy
@pytest.mark.parametrize("platform", PLATFORMS.split())
@pytest.mark.parametrize("version", ["3.11", "3.14"])
def test_there_are_wheels(index, tmp_path, platform, version):
    """Of the two packages that are not pure Python. Nothing is downloaded but what pip reads to decide."""
    where = ["--platform", platform, "--python-version", version, "--target", str(tmp_path)]
    how = ["--only-binary", ":all:", "--report", "-"]
    done = pip(*how, *where, "msgpack>=1.0.8,<2", "psutil>=5.9,<8")
    assert done.returncode == 0, done.stderr
    found = {item["metadata"]["name"] for item in json.loads(done.stdout)["install"]}
    assert found == {"msgpack", "psutil"}
