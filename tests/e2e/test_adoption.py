"""Our functions in an unmodified Flower: its own tests, and the lines of the emitter's README."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.e2e import sides
from tests.support import homes, processes, readme

pytestmark = pytest.mark.e2e

OWN_TESTS = "tests.e2e.flowers_today"
ONE_EVENT = "from flwr.common import EventType, event; print(event(EventType.PING).result())"


def block(name):
    """The code after this marker in the emitter's README."""
    text = readme.EMITTER.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


INSTALLED = Path(importlib.util.find_spec("flwr").origin).parent


def test_flowers_own_tests_pass_but_for_the_answer_of_a_backend(tmp_path, collector):
    def failed(one):
        one.changes["PYTHONPATH"] = f"{sides.TRAP}:{readme.ROOT}"
        _, printed = one.run("-m", "unittest", "-v", OWN_TESTS)
        assert re.search(r"^Ran 9 tests", printed, re.MULTILINE), printed
        return set(re.findall(r"^(?:FAIL|ERROR): (\w+)", printed, re.MULTILINE))

    with sides.both(tmp_path, collector) as (theirs, ours):
        assert failed(theirs) == set()
        assert failed(ours) == {"test_the_backend_answers"}
        assert ours.gateway.asked_for == []


@pytest.mark.parametrize(
    "before", ["", "import sys\nsys.modules['fcntl'] = None\n"], ids=["ours", "Flower's"]
)
def test_the_readmes_lines_in_a_sites_own_sitecustomize(tmp_path, collector, before):
    """A site that cannot change the command of Flower can change the start of Python.

    Where our locks are missing, as on Windows, Flower's own sender reports.
    """
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(before + block("sitecustomize"))
    with sides.ours(tmp_path, collector.url, prefix=()) as ours:
        ours.changes["PYTHONPATH"] = str(site)
        told = ours.complete("-c", before + ONE_EVENT)
        assert (told == "spooled\n") is (not before)
        assert [event["event_type"] for event in ours.gateway.events()] == (["PING"] if before else [])
        assert not before or homes.segments(ours.home) == []


def test_the_readmes_lines_do_no_harm_after_an_uninstall(tmp_path):
    """Python starts without a word."""
    lines = "import sys\nsys.modules['flwr_telemetry'] = None\n" + block("sitecustomize")
    (tmp_path / "sitecustomize.py").write_text(lines)
    done = processes.run(tmp_path, ["-c", "print('x')"], {"PYTHONPATH": str(tmp_path)})
    assert (done.stdout, done.stderr) == ("x\n", "")


@pytest.mark.parametrize(("switch", "asks"), [("0", True), ("1", False)])
def test_the_search_for_updates_is_flowers_own(tmp_path, collector, switch, asks):
    """It is no event: telemetry, off or on, does not change it, but the variable in the README does."""
    if not (INSTALLED / "supercore" / "update_check.py").exists():
        pytest.skip("this release asks for no updates")
    with sides.ours(tmp_path, collector.url) as ours:
        ours.changes |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": switch}
        ours.complete(str(sides.BIN / "flwr"), "--version")
        assert ours.gateway.asked_for == (["api.flower.ai:443"] if asks else [])
        assert ours.gateway.events() == []
