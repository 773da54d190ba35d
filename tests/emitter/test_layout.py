"""Paths: frozen values that touch no disk."""

import os
import re
from pathlib import Path

import pytest

from flwr_telemetry import layout
from flwr_telemetry.errors import HomeUnavailableError
from flwr_telemetry.layout import Home, home_directory, host_name


def test_the_home(tmp_path, monkeypatch):
    """A relative one is made absolute, and none is an error."""
    monkeypatch.chdir(tmp_path)
    named = {"/a/b": "/a/b", "/a/../b/": "/b", "": "/c/.flwr", "x": str(tmp_path / "x")}
    assert {name: str(home_directory({"FLWR_HOME": name, "HOME": "/c/"})) for name in named} == named
    assert home_directory({"HOME": "/c/"}) == Path("/c/.flwr")
    with pytest.raises(HomeUnavailableError, match="set HOME or FLWR_HOME"):
        home_directory({"HOME": "relative"})


def test_names_that_no_other_test_spells():
    home = Home(Path("/h"))
    assert home.host("n1").starting == Path("/h/telemetry/n1/sidecar.starting")
    assert home.gone_hosts.root == Path("/h/telemetry/gone.hosts")


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("node7", "node7"),
        ("node-7.cluster.example", "node-7_cluster_example"),
        ("knöten", "kn_ten"),
        ("../../etc", "______etc"),
        ("a b/c\n", "a_b_c_"),
        ("x" * 70, "x" * 64),
        ("", "_"),
        (".", "_"),
    ],
)
def test_the_name_of_a_host(node, name, monkeypatch):
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((real[0], node, *real[2:])))
    assert host_name() == name


def test_the_name_of_a_whole_segment():
    """Names sort by time; a segment that was sealed from an open one has 8 digits, or 24 with an offset."""
    names = [layout.whole_name(now_ns) for now_ns in (-1, 9, 1_795_000_000_000_000_000)]
    assert names == sorted(names)
    assert all(re.fullmatch(r"sealed-\d{19}-[0-9a-f]{16}\.msgpack", name) for name in names)
    assert all(map(layout.is_whole, names))
    others = "sealed-1-{}.msgpack", "sealed-{}.msgpack.9.taken", ".sealed-1-{}.msgpack.part", "{}.msgpack"
    wrong = [name.format("0" * 16) for name in others[1:]] + [others[0].format("0" * n) for n in (8, 24)]
    assert not any(map(layout.is_whole, wrong))
