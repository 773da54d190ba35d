"""The batcher: when it seals, and the limit of unfinished batches."""

import errno
from unittest import mock

import pytest

from flwr_telemetry import files
from flwr_telemetry.spool.whole import LEAST_BYTES
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.outbox import batch
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.batcher import MAX_BATCHES, MAX_UNFINISHED, SETTLE_S, Batcher
from flwr_telemetryd.sidecar.schedule import SEAL_SIZE_BYTES
from flwr_telemetryd.spool.directory import entry_names
from tests.daemon.conftest import a_runtime, sealed, whole
from tests.support import homes, processes, records

NOW_US = 1_800_000_000_000_000


@pytest.fixture
def time():
    return [100.0]


@pytest.fixture
def batcher(home, time):
    return a_batcher(home, time)


def a_batcher(home, time):
    """Give the batcher of a new sidecar; its two clocks run by the same seconds."""
    clock = Clock(monotonic=lambda: time[0], time_ns=lambda: NOW_US * 1000 + int((time[0] - 100) * 1e9))
    return Batcher(a_runtime(home, Mode.SERVICE, clock))


def put(home, age_s, before=b""):
    """Put an event of this age into the open segment, behind other bytes."""
    event = records.sample({"n": 1}, date_us=NOW_US - int(age_s * 1e6))
    homes.put_bytes(home, before + records.encode(event))


def looks(batcher):
    before = batcher.sealed
    batcher.run(may_batch=True, immediately=False)
    return batcher.sealed > before


def test_the_burst_window_counts_from_the_oldest_record(home, batcher, time):
    """The next segment begins after the seal, so its window is whole."""
    window_s = batcher._runtime.limits.burst_window_s
    assert batcher.window_s() == 0
    put(home, 3)
    assert not looks(batcher)
    assert batcher.window_s() == window_s - 3
    time[0] += window_s - 3
    assert looks(batcher)
    assert (batcher.window_s(), batcher.made) == (0, 1)
    put(home, 3 - window_s)
    assert not looks(batcher)
    assert batcher.window_s() == window_s


@pytest.mark.parametrize(
    ("age_s", "before"),
    [(5, b""), (1e9, b""), (-0.001, b""), (-1e9, b""), (5, b"torn"), (0, b"\0" * 2**20)],
    ids=["old", "very old", "the future", "far in the future", "torn first record", "only damage"],
)
def test_sidecars_that_live_shorter_than_the_window_make_progress(home, time, age_s, before):
    """A segment of an earlier sidecar is sealed at once if it is older than the window, or of unknown age."""
    put(home, age_s, before)
    assert looks(a_batcher(home, time))


def test_many_short_lives_seal_what_they_append_to(home, time):
    """Each sidecar lives for a second, and the segment grows in each life."""
    put(home, 0)
    sealed = []
    for _ in range(6):
        sealed.append(looks(a_batcher(home, time)))
        if not sealed[-1]:
            files.append_bytes(homes.open_segment(home), records.encode(records.sample(date_us=NOW_US)))
        time[0] += 1
    assert sealed == [False] * 5 + [True]


@pytest.mark.parametrize("age_s", [1e9, -1e9], ids=["frozen in the past", "far in the future"])
def test_the_wrong_clock_of_a_process_ends_no_burst(home, batcher, time, age_s):
    """A sidecar that did not find the segment a moment ago knows its age better than a date does."""
    assert not looks(batcher)
    time[0] += 1
    put(home, age_s)
    assert not looks(batcher)
    time[0] += 4
    assert looks(batcher)


def test_unfinished_batches_do_not_pile_up(home, host, batcher, time, monkeypatch):
    monkeypatch.setattr(batch, "write", mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
    for number in range(2 * MAX_UNFINISHED):
        sealed(home, number % 10, at_ns=number + 1)
        time[0] += 1e6
        batcher.run(may_batch=True, immediately=True)
    assert len(entry_names(host.work)) == MAX_UNFINISHED
    assert batcher.made == 0


def test_whole_segments_wait_together_for_the_burst_window(home, batcher, time):
    """They become one batch. The window counts from the oldest one's name, and the next one's is whole."""
    window_s = batcher._runtime.limits.burst_window_s
    for age_s in (3, 1, 2):
        whole(home, age_s, at_ns=NOW_US * 1000 - int(age_s * 1e9))
    looks(batcher)
    assert (batcher.made, batcher.window_s()) == (0, window_s - 3)
    time[0] += window_s - 3
    looks(batcher)
    assert (batcher.made, len(homes.waiting(home)), homes.segments(home)) == (1, 1, [])
    whole(home, 4)
    looks(batcher)
    assert (batcher.made, batcher.window_s()) == (1, window_s)
    batcher.run(may_batch=False, immediately=True)
    assert batcher.made == 1
    batcher.run(may_batch=True, immediately=True)
    assert batcher.made == 2


def test_very_many_whole_segments_do_not_wait(home, batcher):
    for number in range(SEAL_SIZE_BYTES // LEAST_BYTES):
        assert batcher.made == 0
        whole(home, number % 10, at_ns=NOW_US * 1000)
        if number % 100 == 0:
            looks(batcher)
    looks(batcher)
    assert batcher.made


def test_what_was_sealed_on_a_shared_home_is_left_alone_for_a_moment(home, shared_host):
    """A writer with a lock that is not seen here may have passed its last check before the rename."""
    put(home, 0)
    batcher = Batcher(a_runtime(shared_host.telemetry.parent, Mode.SERVICE))
    batcher.run(may_batch=True, immediately=True)
    assert (batcher.sealed, batcher.made) == (1, 0)
    (segment,) = homes.segments(home)
    sealed_at = segment.stat().st_ctime
    processes.wait_until(lambda: batcher.run(may_batch=True, immediately=True) or batcher.made)
    (committed,) = homes.find(homes.host(home), "outbox/*")
    assert committed.stat().st_mtime - sealed_at >= SETTLE_S


def test_whole_segments_that_come_without_end_do_not_keep_it_from_delivering(home, batcher, monkeypatch):
    """A pass makes a few batches. The others follow after the next delivery."""
    take = batch.take

    def one_more(*arguments, **options):
        whole(home, 0)
        return take(*arguments, **options)

    monkeypatch.setattr(batch, "take", one_more)
    batcher.run(may_batch=True, immediately=True)
    assert batcher.made == 0
    whole(home, 0)
    batcher.run(may_batch=True, immediately=True)
    assert batcher.made == MAX_BATCHES
