"""Section 6, `adopt_after_s`: what another host of the home left is delivered by whoever runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import homes, processes, records, wire

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.collector import Collector


def test_once_on_a_host_that_never_spooled_adopts_what_others_left(home: Path, collector: Collector) -> None:
    """An idle spool of another host is delivered by `--once` on a host without a directory of its own."""
    homes.configure(home, collector.url, adopt_after_s=60)
    spool = homes.put(home, records.series(3), host_of="node-7")
    homes.age(spool, 3600)
    homes.age(spool.parent, 3600)
    processes.deliver(home)
    assert wire.serials(collector.events()) == [0, 1, 2]
    assert all("memory_gib" not in event["context"]["hw"] for event in collector.events())
    assert homes.unsent_files(home) == []
