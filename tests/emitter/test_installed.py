"""The version of an installed distribution is that of ``importlib.metadata``, which need not be imported."""

import contextlib
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from flwr_telemetry import installed

NAMES = ("flwr", "flwr-nightly")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Give a function that puts files below a new directory, in front of nothing else on the path."""
    monkeypatch.setattr(sys, "path", [])
    asked = []
    real = installed._metadata
    monkeypatch.setattr(installed, "_metadata", lambda: asked.append(1) or real())

    def put(**texts):
        place = tmp_path / str(len(sys.path))
        for name, text in texts.items():
            file = place / name.replace("__", "-", 1).replace("_info", "-info") / "METADATA"
            file.parent.mkdir(parents=True)
            file.write_text(text)
        sys.path.append(str(place))
        return asked

    return put


def theirs():
    for name in NAMES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return name, metadata.version(name)
    return None


def head(number):
    return f"Metadata-Version: 2.4\nName: flwr\nVersion: {number}\nRequires-Dist: grpcio\n\nVersion: 9\n"


INFO = "flwr__{}.dist_info"
SITES = [
    "",
    "flwr__1.42.0",
    "flwr__1.42.0 flwr__1.41.0",
    "flwr_nightly__1.43.0.dev1",
    "flwr_nightly__1.43.0.dev1 flwr__1.42.0",
    "FLWR__1.42.0",
    "flwr__1.42.0+a.b",
    "flwr_datasets__0.6.0",
]


@pytest.mark.parametrize("places", SITES)
def test_the_version_is_that_of_the_standard_library(site, places):
    """The first of two counts, and the name before the place."""
    asked = site()
    for place in places.split():
        site(**{f"{place}.dist_info": head(place.partition("__")[2])})
    assert installed.version(NAMES) == theirs()
    assert asked == []


UNCLEAR = {
    "an_egg": {"flwr.egg_info": "Version: 1.0\n", INFO.format("1.42.0"): head("1.42.0")},
    "no_version": {INFO.format("1.42.0"): "Name: flwr\n\n"},
    "a_folded_version": {INFO.format("1.42.0"): "Name: flwr\nVersion:\n 1.42.0\n\n"},
}


@pytest.mark.parametrize("place", UNCLEAR.values(), ids=UNCLEAR)
def test_what_is_unclear_is_asked_of_the_standard_library(site, place):
    asked = site(**place)
    installed.version(NAMES)
    assert asked == [1]


def test_a_finder_of_its_own_may_know_more(site, monkeypatch):
    asked = site(**{INFO.format("1.42.0"): head("1.42.0")})
    finder = SimpleNamespace(find_spec=lambda *_: None, find_distributions=lambda *_: [])
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert installed.version(NAMES) == ("flwr", "1.42.0")
    assert asked == [1]


def test_an_archive_may_hold_it(site, tmp_path):
    asked = site()
    (tmp_path / "all.zip").write_bytes(b"PK\5\6" + bytes(18))
    sys.path.append(str(tmp_path / "all.zip"))
    assert installed.version(NAMES) is None
    assert asked == [1]
