"""A batch in the making: what becomes of segments, of damage, and of the system's refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flwr_telemetryd import batch, discarding, segments
from tests.daemon.conftest import EVENTS, FRAMES, OURS, begin_again, make, sealed, take, take_over
from tests.support import homes, wire
from tests.support.faults import descriptors, fail_once

if TYPE_CHECKING:
    from pathlib import Path

    from flwr_telemetry.layout import HostPaths
    from tests.daemon.conftest import Spooling


def test_the_way_of_a_batch(home: Path, host: HostPaths, spooling: Spooling) -> None:
    """Segments become bodies under their keys, the marks say how far, and only bodies are left at the end."""
    first, second = sealed(home, 1, 0), sealed(home, 2, at_ns=2)
    before = descriptors()
    made = take(host)
    assert not segments.sealed_segments(host)
    assert batch.write(made, bursts=True, hardware={"memory_gib": 7}) == batch.Written(bodies=1, damaged=0)
    names = {path.name for path in made.path.iterdir()}
    marks = {
        f"{path.name}.{size}.taken"
        for path, size in ((first, len(FRAMES[0] + FRAMES[1])), (second, len(FRAMES[2])))
    }
    (body,) = spooling.bodies(made.path)
    assert names == {*marks, f"{wire.key_of(body)}.json"}
    committed = batch.commit(made)
    assert committed == host.outbox / made.name
    discarding.discard(host, committed, 9)
    assert [path.name for path in committed.iterdir()] == [f"{batch.key_of(body)}.json"]
    assert [event["context"]["hw"]["memory_gib"] for event in wire.expand(body)] == [7] * 3
    assert wire.bag(map(wire.plain, wire.expand(body))) == wire.bag(EVENTS[:3])
    assert descriptors() == before


def test_the_oldest_go_first_and_a_batch_is_bounded(
    home: Path, host: HostPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch takes so many bytes, at least one segment, in order of their names."""
    paths = [sealed(home, number, at_ns=number + 1) for number in range(5)]
    monkeypatch.setattr(batch, "MAX_BATCH_BYTES", 2 * len(FRAMES[0]) + 5)
    sizes = []
    for _ in range(3):
        names = sorted(path.name for path in take(host).path.iterdir())
        assert names == [path.name for path in paths[sum(sizes) :][: len(names)]]
        sizes.append(len(names))
    assert sizes == [2, 2, 1]
    assert batch.take(host, OURS, 1) is None
    monkeypatch.setattr(batch, "MAX_BATCH_BYTES", 1)
    sealed(home, 1)
    assert len(list(take(host).path.iterdir())) == 1


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_fault_keeps_the_batch(
    home: Path, host: HostPaths, spooling: Spooling, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The system's refusal costs nothing: no descriptor stays, and the batch is begun again later."""
    sealed(home, 0)
    made = take(host)
    before = descriptors()
    fail_once(monkeypatch, call, 28)
    with pytest.raises(OSError, match="No space"):
        make(host, made)
    assert descriptors() == before
    assert begin_again(host, spooling) == [0]


def test_damage_is_kept_once(home: Path, host: HostPaths) -> None:
    """Bytes that are no record are kept beside, once, however often the batch begins again."""
    data = b"torn" + FRAMES[0] + b"more"
    segment = homes.put_bytes(home, data, name=segments.sealed_name(1))
    take(host)
    for _ in range(3):
        (made,) = take_over(host, OURS)
        assert batch.write(made, bursts=True, hardware={}) == batch.Written(bodies=1, damaged=2)
    assert (host.damaged / f"{segment.name.removesuffix('.msgpack')}.bin").read_bytes() == b"tornmore"


def test_without_bursts_each_event_is_a_body(home: Path, host: HostPaths, spooling: Spooling) -> None:
    """No body has a burst."""
    sealed(home, 0, 1, 2)
    made = take(host)
    assert batch.write(made, bursts=False, hardware={}).bodies == 3
    assert all("burst" not in json.loads(body) for body in spooling.bodies(made.path))
