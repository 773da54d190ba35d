"""Section 6, `adopt_after_s`: a sidecar delivers what another host of the home left."""

from tests.support import homes, processes, records, wire


def test_once_on_a_host_that_never_spooled_adopts_what_others_left(home, collector):
    """An idle spool of another host is delivered by `--once` on a host without a directory of its own."""
    homes.configure(home, collector.url, adopt_after_s=60)
    spool = homes.put(home, records.series(3), host_of="node-7")
    homes.age(spool, 3600)
    homes.age(spool.parent, 3600)
    processes.deliver(home)
    assert wire.serials(collector.events()) == [0, 1, 2]
    assert all("memory_gib" not in event["context"]["hw"] for event in collector.events())
    assert homes.unsent_files(home) == []
