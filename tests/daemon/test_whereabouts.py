"""Whereabouts: bodies are found wherever in a home they are, while they go from host to host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from flwr_telemetry.layout import Home
from flwr_telemetryd import outbox, whereabouts
from tests.daemon.conftest import EVENTS, burst_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

KEYS = frozenset({"a" * 64, "b" * 64})


def held(home: Path, name: str) -> Path:
    """Put both bodies into one batch of a host."""
    batch = Home(home).host(name).outbox / "b1"
    batch.mkdir(mode=0o700, parents=True)
    for key in KEYS:
        (batch / f"{key}.json").touch()
    return batch


def test_a_batch_that_is_adopted_during_the_look_is_seen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a host that is listed late to one that was listed before."""
    batch, early = held(home, "z"), Home(home).host("a")
    early.root.mkdir(mode=0o700)
    real = os.listdir

    def listed(path: Any) -> list[str]:
        if path == batch.parent:
            monkeypatch.undo()
            outbox.adopt(batch, early)
        return real(path)

    monkeypatch.setattr("os.listdir", listed)
    assert whereabouts.waiting(Home(home)) == dict.fromkeys(KEYS, "a")
    assert not batch.exists()


def test_what_comes_and_goes_moves_nothing_for_ever(home: Path) -> None:
    """A body counts once as gone, so that whoever waits for one to leave comes to an end."""
    batch = held(home, "z")
    now = [0.0]
    watch = whereabouts.Watch(Home(home), KEYS, lambda: now[0])
    moved = []
    for _ in range(3):
        for away in (True, False):
            now[0] += 1
            batch.rename(batch.parents[2] / "aside") if away else (batch.parents[2] / "aside").rename(batch)
            assert set(watch.look()) == (set() if away else KEYS)
            moved.append(watch.moved_at)
    assert moved == [1.0] * 6


def test_a_burst_that_was_split_waits_under_the_keys_of_its_events(home: Path) -> None:
    """It is left as long as one of them is."""
    whole = burst_of(EVENTS[:3])
    names = whereabouts.names_of({"c" * 64: whole})
    assert len(names) == 4
    (member, *_) = names - {"c" * 64}
    batch = held(home, "z")
    (batch / f"{member}.json").touch()
    watch = whereabouts.Watch(Home(home), names, lambda: 0.0)
    assert watch.look() == {member: "z"}
