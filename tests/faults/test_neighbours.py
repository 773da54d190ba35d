"""Hostile neighbours: whatever stands in the place of a directory or file of ours is not followed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import (
    DIRECTORIES,
    HELD_BY,
    IN_OUTBOX,
    IN_SEALED,
    IN_SEGMENT,
    TO_DIRECTORIES,
    TO_FILES,
    Scene,
    dangling_link,
    photograph,
)
from tests.support import wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.zygote import Zygote
    from tests.support.collector import Collector

WRITTEN = "events.msgpack flush dropped not-before sidecar.lock sidecar.json sidecar.log sent".split()
FILES = [*WRITTEN, "sealed", "body", "forgotten", "heartbeat"]


@pytest.fixture
def scene(home: Path, tmp_path: Path, collector: Collector, _fuse: None) -> Iterator[Scene]:
    """Give a home in full use, and leave nothing that could hold up whoever looks at it later."""
    scene = Scene(home, tmp_path / "elsewhere", url=collector.url)
    yield scene
    home.rename(tmp_path / "met")


def meet(zygote: Zygote, scene: Scene, path: Path) -> None:
    """Look, emit and deliver: nothing beyond the path is touched, and a sentence of `status` names it."""
    before = photograph(scene.elsewhere)
    problems = zygote.status(scene.home)["problems"]
    (told,) = zygote.emit(scene.home, start_at=50)
    zygote.once(scene.home)
    assert told == "spooled" or told.startswith("flwr_telemetry.errors.")
    assert photograph(scene.elsewhere) == before, "something beyond the link was touched"
    assert any(str(path) in problem for problem in problems), f"{path} is not among {problems}"


@pytest.mark.parametrize("harm", TO_DIRECTORIES)
@pytest.mark.parametrize("name", DIRECTORIES)
def test_in_place_of_a_directory(
    zygote: Zygote, scene: Scene, collector: Collector, name: str, harm: str
) -> None:
    """A word in `status`, no hang, no crash, and nothing followed, sent or overwritten."""
    path = scene.directory(name)
    TO_DIRECTORIES[harm](path, scene.elsewhere)
    meet(zygote, scene, path)
    if harm == "link":
        assert not HELD_BY.get(name, set()) & set(wire.serials(collector.events()))


@pytest.mark.parametrize("harm", TO_FILES)
@pytest.mark.parametrize("name", FILES)
def test_in_place_of_a_file(zygote: Zygote, scene: Scene, collector: Collector, name: str, harm: str) -> None:
    """A word in `status`, no hang, no crash, and nothing followed, sent or overwritten."""
    path = scene.files[name]
    TO_FILES[harm](path, scene.elsewhere)
    meet(zygote, scene, path)
    if harm == "link":
        assert not HELD_BY.get(name, set()) & set(wire.serials(collector.events()))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_link_to_nowhere(zygote: Zygote, scene: Scene, name: str) -> None:
    """What it leads to is not created, by a writer or by the sidecar."""
    path = scene.files[name]
    dangling_link(path, scene.elsewhere)
    meet(zygote, scene, path)
    assert list(scene.elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", WRITTEN)
def test_a_fifo_that_somebody_holds(zygote: Zygote, scene: Scene, name: str) -> None:
    """One with a reader and a writer, which opens at once: nothing is written to it, nothing waited for."""
    path = scene.files[name]
    TO_FILES["FIFO"](path, scene.elsewhere)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        meet(zygote, scene, path)
        with pytest.raises(BlockingIOError):
            os.read(descriptor, 1)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("name", ["telemetry", "outbox", "sidecar.lock", "body"])
def test_people_are_told(zygote: Zygote, scene: Scene, name: str) -> None:
    """`status` for people says the same, names the path, and exits with 0."""
    path = scene.files.get(name) or scene.directory(name)
    TO_FILES["link"](path, scene.elsewhere)
    shown = zygote.command(scene.home, "status")
    assert shown.returncode == 0
    assert str(path) in shown.stdout


def test_a_home_without_neighbours(zygote: Zygote, scene: Scene, collector: Collector) -> None:
    """The scene itself is in order: `status` has nothing to say, and all of it is delivered."""
    assert zygote.status(scene.home)["problems"] == []
    assert zygote.once(scene.home).returncode == 0
    assert wire.serials(collector.events()) == [IN_SEGMENT, IN_SEALED, IN_OUTBOX]
