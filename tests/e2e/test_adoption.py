"""Flower's telemetry module under us: what its own tests ask, and the README's two ways to adopt it."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import sides

if TYPE_CHECKING:
    from tests.e2e.sides import Side
    from tests.support.collector import Collector

pytestmark = pytest.mark.e2e

README = Path(__file__).resolve().parents[2] / "README.md"
OWN_TESTS = "tests.e2e.flowers_own"
ONE_EVENT = "from flwr.common import EventType, event; print(event(EventType.PING).result())"


def block(name: str) -> str:
    """Give the code that stands behind this marker in the README."""
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_flowers_own_tests_pass_but_for_the_answer_of_a_backend(tmp_path: Path, collector: Collector) -> None:
    """They all pass as Flower is; under us nobody waits for an answer, so that one fails and no other."""

    def failed(one: Side) -> set[str]:
        one.changes["PYTHONPATH"] = f"{sides.TRAP}:{README.parent}"
        _, printed = one.run("-m", "unittest", "-v", OWN_TESTS)
        assert re.search(r"^Ran 9 tests", printed, re.MULTILINE), printed
        return set(re.findall(r"^(?:FAIL|ERROR): (\w+)", printed, re.MULTILINE))

    with sides.both(tmp_path, collector) as (theirs, ours):
        assert failed(theirs) == set()
        assert failed(ours) == {"test_the_backend_answers"}
        assert ours.gateway.asked_for == []


def test_flower_with_the_readmes_module_in_its_place(tmp_path: Path, collector: Collector) -> None:
    """A copy of the installed Flower that imports our functions reports through us, with no help at all."""
    spec = importlib.util.find_spec("flwr")
    assert spec is not None
    (installed,) = spec.submodule_search_locations or ()
    copy = tmp_path / "changed" / "flwr"
    shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (module,) = [path for path in copy.glob("*/telemetry.py") if path.parent.name in ("supercore", "common")]
    module.write_text(block("adoption"))
    with sides.ours(tmp_path, collector.url, prefix=()) as ours:
        ours.changes["PYTHONPATH"] = f"{sides.TRAP}:{copy.parent}"
        status, printed = ours.run(str(Path(__file__).with_name("simulation.py")))
        assert status == 0, printed
        came = sides.arrived(ours, collector)
    (version,) = {event["context"]["flower"]["package_version"] for event in came}
    assert version == ".".join(map(str, sides.RELEASE))


def test_the_readmes_lines_in_a_sites_own_sitecustomize(tmp_path: Path, collector: Collector) -> None:
    """A site that cannot change how Flower is started changes what Python does at its start."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(block("sitecustomize"))
    with sides.ours(tmp_path, collector.url, prefix=()) as ours:
        ours.changes["PYTHONPATH"] = str(site)
        assert ours.run("-c", ONE_EVENT) == (0, "spooled\n")
