"""Hostile neighbours: nothing that stands in the place of our directory or file is followed."""

import os

import pytest

from tests.faults import scene as scenes
from tests.faults.scene import DIRECTORIES, HELD_BY, TO_DIRECTORIES, TO_FILES, Scene
from tests.support import wire

WRITTEN = "events.msgpack flush dropped not-before sidecar.lock sidecar.json sidecar.log sent".split()
FILES = [*WRITTEN, "sealed", "body", "forgotten", "heartbeat"]


@pytest.fixture
def scene(home, tmp_path, collector, _fuse):
    """Give a home in full use, and move it away afterwards, because reading it may hang."""
    scene = Scene(home, tmp_path / "elsewhere", url=collector.url)
    yield scene
    home.rename(tmp_path / "met")


def meet(zygote, scene, path):
    """Look, emit and deliver: nothing beyond the path is touched, and a sentence of `status` names it."""
    before = scenes.photograph(scene.elsewhere)
    problems = zygote.status(scene.home)["problems"]
    (told,) = zygote.emit(scene.home, start_at=50)
    zygote.once(scene.home)
    assert told in {"spooled", "disabled"} or told.startswith("flwr_telemetry.errors.")
    assert scenes.photograph(scene.elsewhere) == before, "something beyond the link was touched"
    assert any(str(path) in problem for problem in problems), f"{path} is not among {problems}"


@pytest.mark.parametrize(
    ("kind", "name", "harm"),
    [
        *(("directory", name, harm) for name in DIRECTORIES for harm in TO_DIRECTORIES),
        *(("file", name, harm) for name in FILES for harm in TO_FILES),
    ],
)
def test_in_place_of_our_own(zygote, scene, collector, kind, name, harm):
    """`status` names it, no process hangs or crashes, and nothing is followed, sent or overwritten."""
    path = scene.files[name] if kind == "file" else scene.directory(name)
    (TO_FILES if kind == "file" else TO_DIRECTORIES)[harm](path, scene.elsewhere)
    meet(zygote, scene, path)
    if harm == "link":
        assert not HELD_BY.get(name, set()) & set(wire.serials(collector.events()))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_link_to_nowhere(zygote, scene, name):
    """Neither a writer nor the sidecar creates its target."""
    path = scene.files[name]
    scenes.dangling_link(path, scene.elsewhere)
    meet(zygote, scene, path)
    assert list(scene.elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", WRITTEN)
def test_a_fifo_that_somebody_holds(zygote, scene, name):
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
def test_people_are_told(zygote, scene, name):
    """`status` for people says the same, names the path, and exits with 0."""
    path = scene.files.get(name) or scene.directory(name)
    TO_FILES["link"](path, scene.elsewhere)
    shown = zygote.command(scene.home, "status")
    assert shown.returncode == 0
    assert str(path) in shown.stdout
