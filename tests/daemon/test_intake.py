"""Intake: bodies from elsewhere are whole in the outbox or not there, beside sidecars that live."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import pytest

from flwr_telemetryd import batch, intake, outbox, retention, segments, whereabouts
from flwr_telemetryd.errors import UnusableHomeError
from tests.daemon.conftest import OURS, repair, take_over
from tests.support import homes, wire
from tests.support.faults import amid, descriptors, fail_once

if TYPE_CHECKING:
    from pathlib import Path

    from flwr_telemetry.layout import HostPaths

BODIES = {wire.key_of(body): body for body in (b'{"n":%d}' % number for number in range(300))}
NAME = batch.new_name(1)


def _put(host: HostPaths, bodies: dict[str, bytes]) -> None:
    into = intake.Intake(host, NAME, lambda: True)
    for key, data in bodies.items():
        assert into.put(key, data)
    into.settle()


def test_what_is_put_there_is_due_byte_for_byte(host: HostPaths) -> None:
    """Under its key, in one batch, and nothing else is left."""
    before = descriptors()
    _put(host, BODIES)
    assert {body.key: body.read() for body in outbox.due(host)} == BODIES
    assert set(whereabouts.waiting_on([host])) == set(BODIES)
    assert [path.name for path in host.outbox.iterdir()] == [NAME]
    assert segments.names(host.work) == []
    assert descriptors() == before


def test_a_sidecar_that_delivers_and_tidies_up_meanwhile_loses_nothing(host: HostPaths) -> None:
    """It removes a batch in which nothing is left, takes over what it holds for unfinished, and goes on."""
    delivered: dict[str, bytes] = {}
    done = threading.Event()

    def serve() -> None:
        while not done.is_set() or whereabouts.waiting_on([host]):
            repair(host)
            assert take_over(host, OURS) == []
            for body in outbox.due(host):
                delivered[body.key] = body.read()
                outbox.remove(body)

    sidecar = threading.Thread(target=serve)
    sidecar.start()
    try:
        _put(host, BODIES)
    finally:
        done.set()
        sidecar.join()
    assert delivered == BODIES


def test_where_telemetry_is_switched_off_meanwhile_nothing_is_made_again(host: HostPaths) -> None:
    """The rooms went with what was in them."""
    answers = iter([True, False])
    into = intake.Intake(host, NAME, lambda: next(answers))
    with pytest.MonkeyPatch.context() as patch:
        amid(
            patch,
            lambda: (host.work.rename(host.root / "gone"), host.outbox.rename(host.root / "too")),
            "rename",
        )
        assert not into.put(*next(iter(BODIES.items())))
    assert not host.work.exists()
    assert not host.outbox.exists()


def test_whoever_removes_it_again_and_again_is_told(host: HostPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not tried for ever."""
    monkeypatch.setattr("os.rename", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))
    with pytest.raises(UnusableHomeError, match=NAME):
        _put(host, BODIES)


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_is_full_leaves_no_half_of_a_body(
    host: HostPaths, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was put before is there; the next one's draft goes."""
    _put(host, dict(list(BODIES.items())[:1]))
    fail_once(monkeypatch, call, errno.ENOSPC)
    with pytest.raises(OSError, match="space"):
        _put(host, BODIES)
    into = intake.Intake(host, NAME, lambda: True)
    into.settle()
    assert set(whereabouts.waiting_on([host])) == set(list(BODIES)[:1])
    assert segments.names(host.work) == []


def test_the_room_that_is_taken_is_that_of_all_hosts(home: Path, host: HostPaths) -> None:
    """As the cap counts it."""
    from flwr_telemetry.layout import Home

    _put(host, BODIES)
    homes.put_bytes(home, b"x" * 1000, name=segments.sealed_name(1), host_of="other")
    assert retention.unsent_bytes(Home(home)) == sum(map(len, BODIES.values())) + 1000
