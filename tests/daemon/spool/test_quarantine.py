"""Quarantine: damage is kept, and nothing fails because it could not be kept."""

import os

import pytest

from flwr_telemetryd.spool import quarantine
from tests.support import homes
from tests.support.faults import descriptors, fail_once


def test_a_file_is_moved_and_its_empty_directory_goes(host):
    path = host.outbox / "b" / "k.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damage")
    quarantine.quarantine(host, path)
    assert ((host.damaged / "k.json").read_bytes(), list(host.outbox.iterdir())) == (b"damage", [])
    quarantine.quarantine(host, path)  # it is gone: another sidecar was first


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_something_else_in_a_segments_place_is_quarantined(home, host, kind):
    """It is not opened. A plain segment stays, and a missing one is an error."""
    segment = homes.put_bytes(home, b"x", name="sealed-1.msgpack")
    before = descriptors()
    with quarantine.opened_segment(host, segment) as descriptor:
        assert os.read(descriptor, 9) == b"x"
    segment.unlink()
    with pytest.raises(FileNotFoundError), quarantine.opened_segment(host, segment):
        pass
    kinds = {"link": lambda: segment.symlink_to("/etc/hostname"), "fifo": lambda: os.mkfifo(segment)}
    kinds.get(kind, segment.mkdir)()
    with quarantine.opened_segment(host, segment) as descriptor:
        assert descriptor is None
    assert os.listdir(host.damaged) == [segment.name]
    assert descriptors() == before


def test_the_damage_of_a_segment_is_kept_in_one_file(host, monkeypatch, caplog):
    """Damage that cannot be kept delays no event."""
    for _ in range(2):
        writer = quarantine.DamageWriter(host, "sealed-1.msgpack")
        writer.write(b"torn")
        writer.write(b"more")
    assert (host.damaged / "sealed-1.bin").read_bytes() == b"tornmore"
    fail_once(monkeypatch, "write", 28)
    quarantine.DamageWriter(host, "sealed-1.msgpack").write(b"torn")
    assert "4 damaged bytes of sealed-1.bin are not kept" in caplog.text
