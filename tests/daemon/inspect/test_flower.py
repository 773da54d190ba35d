"""The Flower of this environment, on toy Flowers; a real one is in ``tests/e2e/test_off_is_off.py``."""

import sys

import pytest

from flwr_telemetry import flower as hook
from flwr_telemetryd.inspect.flower import STOP, read_flower

OWN, OURS = "import urllib.request\n", "from flwr_telemetry import event as event\n"


@pytest.fixture(autouse=True)
def _no_hook(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, hook._Finder)])


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Give a function that installs a Flower with this telemetry module in front of any other."""

    def install(text, layout="supercore"):
        (tmp_path / "flwr" / layout).mkdir(parents=True)
        (tmp_path / "flwr" / "__init__.py").write_text("raise AssertionError('imported')\n")
        (tmp_path / "flwr" / layout / "telemetry.py").write_text(text)
        (tmp_path / "flwr-1.42.7.dist-info").mkdir()
        (tmp_path / "flwr-1.42.7.dist-info" / "METADATA").write_text("Name: flwr\nVersion: 1.42.7\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "flwr", raising=False)

    return install


@pytest.mark.parametrize("layout", ["supercore", "common"])
@pytest.mark.parametrize("by", ["its module", "the hook"])
def test_an_adopted_flower_needs_no_advice(install, layout, by):
    install(OURS if by == "its module" else OWN, layout)
    if by == "the hook":
        hook.install()
    view = read_flower({}, enabled=False)
    assert (view.version, view.adopted, view.reports, view.advice) == ("1.42.7", True, False, "")
    assert view.found == "Flower 1.42.7 in this environment: adopted"


@pytest.mark.parametrize(
    ("environ", "enabled", "reports", "advice"),
    [
        ({}, False, True, STOP),
        ({"DO_NOT_TRACK": "1"}, False, True, STOP),
        ({"FLWR_TELEMETRY_ENABLED": "1"}, False, True, STOP),
        ({"FLWR_TELEMETRY_ENABLED": "0"}, False, False, ""),
        ({"FLWR_TELEMETRY_ENABLED": "true"}, False, False, ""),
        ({}, True, False, "flwr-telemetry run"),
    ],
)
def test_a_flower_that_is_not_adopted_obeys_one_variable_alone(install, environ, enabled, reports, advice):
    install(OWN)
    view = read_flower(environ, enabled=enabled)
    assert (view.version, view.adopted, view.reports) == ("1.42.7", False, reports)
    assert view.found.startswith("Flower 1.42.7 in this environment: not adopted")
    assert advice in view.advice
    assert bool(advice) is bool(view.advice)


def test_without_a_flower_here_one_elsewhere_still_reports(monkeypatch, tmp_path):
    """The command was installed by pipx, for example."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    view = read_flower({}, enabled=False)
    assert (view.version, view.adopted, view.reports) == (None, False, True)
    assert "one elsewhere reports by itself" in view.found
    assert STOP in view.advice
