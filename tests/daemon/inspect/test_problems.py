"""Problems of a home, and how to change its consent: the sentences of the status."""

import os
import uuid

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.inspect import status
from flwr_telemetryd.outbox import forgotten
from tests.support import homes, records


def _read(home, environ=None):
    return status.read_status(Home(home), environ or {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_a_problem(home):
    homes.put(home, records.series(1))
    os.chown(homes.telemetry(home), 12345, 12345)
    view = _read(home)
    assert view.hosts == []
    assert "belongs to another user" in view.problems[0]


def test_a_home_that_is_a_file_is_a_problem(home):
    home.write_text("")
    (problem,) = _read(home).problems
    assert problem.startswith(f"{home} is no directory")


def test_what_may_not_be_read_or_written_is_a_problem(home, monkeypatch):
    homes.put(home, records.series(1))
    telemetry = homes.telemetry(home)
    monkeypatch.setattr(os, "access", lambda path, _mode: path != telemetry)
    view = _read(home)
    assert view.hosts == []
    assert view.problems == [
        f"{telemetry}: Permission denied; no permission; set FLWR_HOME to a directory of your own"
    ]
    monkeypatch.setattr(os, "access", lambda _path, mode: not mode & os.W_OK)
    view = _read(home)
    assert view.problems == [
        f"{homes.spool(home)} cannot be written to; set FLWR_HOME to a writable directory"
    ]
    assert view.hosts[0].spool.events == 1
    assert _read(home, {"DO_NOT_TRACK": "1"}).problems == []


def test_a_spool_at_its_cap_is_a_problem(home):
    homes.configure(home, spool_max_mib=0.001)
    homes.put(home, records.series(3))
    (problem,) = _read(home).problems
    assert "flwr-telemetry flush" in problem


def test_a_source_that_is_no_uuid_is_a_problem(home):
    home.mkdir()
    (home / "source").write_text("me\n")
    view = _read(home)
    assert view.source == "invalid"
    assert "holds no UUID" in view.problems[0]


def test_a_source_that_was_forgotten_is_a_problem(home, monkeypatch):
    """A restored backup may bring it back; events that carry it are deleted."""
    source = str(uuid.uuid4())
    homes.put(home, records.series(1))
    (home / "source").write_text(source)
    assert _read(home).problems == []
    forgotten.add(Home(home), source)
    (problem,) = _read(home).problems
    assert "was forgotten" in problem

    def refuse(_home):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(forgotten, "hashes", refuse)
    (problem,) = _read(home).problems
    assert str(Home(home).forgotten) in problem


@pytest.mark.parametrize(
    ("environ", "decided_by", "change"),
    [
        ({"FLWR_TELEMETRY_ENABLED": "0"}, "FLWR_TELEMETRY_ENABLED", "unset FLWR_TELEMETRY_ENABLED"),
        ({"DO_NOT_TRACK": "1"}, "DO_NOT_TRACK", "unset DO_NOT_TRACK"),
        ({"DO_NOT_TRACK": "1", "FLWR_TELEMETRY_ENABLED": "1"}, "FLWR_TELEMETRY_ENABLED", "switch it off"),
        ({}, "default", "switch it off"),
    ],
)
def test_what_decides_is_told_with_what_would_change_it(home, environ, decided_by, change):
    view = _read(home, environ)
    assert view.decided_by == decided_by
    assert change in view.change
