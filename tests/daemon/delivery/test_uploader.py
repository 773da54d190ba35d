"""The uploader: the order of bodies, and the effect of an answer on the next one."""

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetryd.delivery.outcome import Delivered, PartSent, Refused, Retry
from flwr_telemetryd.delivery.uploader import Uploader
from flwr_telemetryd.outbox.queue import Queue
from tests.daemon.conftest import a_runtime, put_body
from tests.support import records
from tests.support.bodies import coalesce


class Collector:
    def __init__(self):
        self.keys, self.opened, self.answer = [], 0, lambda _key: Delivered()

    def open(self, _settings):
        self.opened += 1
        return self

    def send(self, key, _body):
        self.keys.append(key)
        return self.answer(key)

    def close(self):
        pass


@pytest.fixture
def collector():
    return Collector()


@pytest.fixture
def keys(host):
    host.outbox.mkdir(mode=0o700)
    found = []
    for number in range(3):
        (body,) = coalesce([to_wire(records.sample({"n": number}))], bursts=False)
        found.append(put_body(host, body, batch=f"b{number}").key)
    return found


def uploader_for(home, collector, **changes):
    runtime = a_runtime(home)._replace(**changes)
    return Uploader(runtime, Queue(runtime), collector.open), runtime.state


@pytest.mark.parametrize("refused", [0, 1])
def test_bodies_go_oldest_first_through_one_sink(home, host, keys, collector, refused):
    """A refused body delays no other."""
    collector.answer = lambda key: Refused("no") if key in keys[:refused] else Delivered()
    uploader, state = uploader_for(home, collector)
    uploader.deliver(flush_requested=True)
    assert (collector.keys, collector.opened, uploader.was_answered) == (keys, 1, True)
    assert (state.requests, state.delivered_events, state.rejected) == (3, 3 - refused, refused)
    assert (host.rejected / f"{keys[0]}.json").exists() is bool(refused)


def test_a_retry_ends_the_pass_and_the_body_goes_last(home, keys, collector):
    collector.answer = lambda key: Retry("overloaded") if key == keys[0] else Delivered()
    uploader, state = uploader_for(home, collector)
    uploader.deliver(flush_requested=True)
    assert collector.keys == keys[:1]
    assert (state.last_error, state.retried, uploader.retry_policy.is_failing) == ("overloaded", 1, True)
    uploader.deliver(flush_requested=True)
    assert collector.keys == [keys[0], keys[1], keys[2], keys[0]]


@pytest.mark.parametrize("outcome", [Delivered(), Retry("overloaded"), Refused("no")])
def test_an_opt_out_amid_a_request_is_the_last_word(home, host, keys, collector, outcome):
    """No request follows it. What was not delivered is neither written nor counted."""
    collector.answer = lambda _key: outcome
    uploader, state = uploader_for(home, collector, checkpoint=lambda: len(collector.keys) < 1)
    uploader.deliver(flush_requested=True)
    assert (collector.keys, state.retried, state.rejected) == (keys[:1], 0, 0)
    assert (uploader.retry_policy.is_failing, host.rejected.exists()) == (False, False)


def test_changed_settings_open_another_sink(home, keys, collector):
    settings = a_runtime(home).settings()

    def changing():
        return settings._replace(url=f"http://127.0.0.1:{len(collector.keys)}/")

    uploader, _ = uploader_for(home, collector, settings=changing)
    uploader.deliver(flush_requested=True)
    assert (collector.keys, collector.opened) == (keys, 3)


def test_each_part_of_a_body_is_asked_for_again(home, host, keys, collector):
    """An opt-out between two parts ends the body; the parts count as requests, the body once."""
    answers = {key: [PartSent(), PartSent(), Delivered()] for key in keys}
    collector.answer = lambda key: answers[key].pop(0)
    uploader, state = uploader_for(home, collector)
    uploader.deliver(flush_requested=True)
    assert collector.keys == [key for key in keys for _ in range(3)]
    assert (state.requests, state.delivered_events) == (9, 3)
    (body,) = coalesce([to_wire(records.sample())])
    key = put_body(host, body).key
    answers, collector.keys = {key: [PartSent()] * 9}, []
    uploader, _ = uploader_for(home, collector, checkpoint=lambda: len(collector.keys) < 2)
    uploader.deliver(flush_requested=True)
    assert len(collector.keys) == 2


def test_what_a_person_has_to_repair_waits_the_longest_time_at_once(home, keys, collector):
    """A flush does not wait for it, because no ``Retry-After`` is written."""
    collector.answer = lambda _key: Retry("401", needs_repair=True)
    uploader, state = uploader_for(home, collector)
    uploader.deliver(flush_requested=True)
    assert uploader.retry_policy.wait_s() > 899
    assert state.last_error == "401"
    uploader.retry_policy.reset()
    assert uploader.retry_policy.wait_s() <= 0
