"""Whether everything that was spooled is delivered: no pass over the directories misses a file."""

import shutil

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetry.pending import Waiting, has_bodies
from tests.support import homes, records

SEALED = "sealed-0000000000000000001-00000001.msgpack"


@pytest.fixture
def host(home):
    homes.put(home, [records.sample()])
    return Home(home).host()


def move(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def test_an_event_is_seen_at_every_stage_of_its_way(host):
    """Open, sealed, taken, committed, refused and split: it waits until the last body is gone."""
    waiting = Waiting(host)
    committed = host.outbox / "b1"
    key = committed / "k.json"
    steps = [
        lambda: move(host.events, host.spool / SEALED),
        lambda: move(host.spool / SEALED, host.work / "b1.me" / SEALED),
        lambda: (host.work / "b1.me" / "k.json").write_bytes(b"{}"),
        lambda: move(host.work / "b1.me", host.work / "b1.another"),
        lambda: move(host.work / "b1.another", committed),
        (committed / SEALED).unlink,
        lambda: move(key, committed / "k.split"),
        lambda: (committed / "m.json").write_bytes(b"{}"),
        (committed / "k.split").unlink,
    ]
    for step in steps:
        assert not waiting.is_over()
        step()
    assert not waiting.is_over()
    (committed / "m.json").unlink()
    assert waiting.is_over()
    assert waiting.is_over()


def test_what_comes_later_is_not_waited_for(home, host):
    """A busy workload beside us cannot keep us waiting."""
    waiting = Waiting(host)
    move(host.events, host.outbox / "b1" / "k.json")  # keeps the inode in use
    homes.put(home, [records.sample()])
    assert not waiting.is_over()
    (host.outbox / "b1" / "k.json").unlink()
    homes.put(home, [records.sample()], name=SEALED)
    assert waiting.is_over()


def test_nothing_waits(home, host):
    """The wait is over for events that were delivered between two passes."""
    waiting = Waiting(host)
    host.events.unlink()
    assert waiting.is_over()
    shutil.rmtree(home)
    assert Waiting(host).is_over()
    homes.put_bytes(home, b"")
    host.flush.touch()
    (host.outbox / "b1").mkdir(parents=True)
    (host.outbox / "b1" / f"{SEALED}.7.taken").write_bytes(b"x")
    before = homes.tree(home)
    assert Waiting(host).is_over()
    assert homes.tree(home) == before


def test_what_is_a_body(tmp_path):
    assert not has_bodies(tmp_path / "b")
    (tmp_path / "b").mkdir()
    for name in ("k.json.part", f"{SEALED}.1.taken", "k.split", "k.json"):
        (tmp_path / "b" / name).touch()
        assert has_bodies(tmp_path / "b") is (name in {"k.split", "k.json"}), name
        (tmp_path / "b" / name).unlink()
