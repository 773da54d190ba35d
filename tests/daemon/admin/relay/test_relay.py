"""Relay: a file of bodies is delivered byte for byte, once, whatever interrupts it."""

import errno
import itertools
import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry.layout import Home
from flwr_telemetry.record import to_wire
from flwr_telemetryd.admin.flush import Outcome
from flwr_telemetryd.admin.relay import relay
from flwr_telemetryd.admin.relay.relay import RelayResult
from flwr_telemetryd.burst import codec
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery import otlp
from flwr_telemetryd.errors import FileSinkError
from flwr_telemetryd.outbox import archive, forgotten
from flwr_telemetryd.state import State
from tests.support import homes, processes, records, wire
from tests.support.bodies import coalesce
from tests.support.collector import Answer, Collector
from tests.support.dying import Forks
from tests.support.faults import amid, fail_once
from tests.support.strategies import events, tried


@pytest.fixture
def collector(home, collector):
    """Give a collector whose address is in the settings of the home."""
    homes.configure(home, collector.url)
    return collector


def bodies(count, **fields):
    return [codec.dumps(to_wire(event)).encode() for event in records.series(count, **fields)]


def keys(lines):
    return set(map(wire.key_of, lines))


@pytest.fixture
def file(tmp_path):
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared" / "metrics.jsonl"


def put(file, lines):
    with file.open("ab") as out:
        out.writelines(line + b"\n" for line in lines)


def run(home, file, timeout_s=processes.PATIENCE_S, **options):
    return relay.relay_file(Home(home), processes.environment(home), file, timeout_s=timeout_s, **options)


def cursor_of(file):
    return json.loads(file.with_name(f"{file.name}.relayed").read_bytes())


def test_whatever_the_bodies_are_each_arrives_under_the_hash_of_its_line(home, file, collector):
    """A property: bytes and keys are those of the lines; what stands there twice is sent once."""
    lines = []

    @tried(60)
    @given(st.lists(events, min_size=1, max_size=6), st.booleans())
    def collect(some, bursts):
        lines.extend(coalesce(map(to_wire, some), bursts=bursts))

    collect()
    homes.configure(home, collector.url)
    put(file, itertools.chain.from_iterable((line, b"", line) for line in lines))
    relayed = run(home, file)
    assert (relayed.outcome, relayed.damaged, relayed.rest_bytes) == (Outcome.DELIVERED, 0, 0)
    assert set(collector.accepted) == keys(lines)
    assert collector.accepted == {wire.key_of(line): line for line in lines}
    assert len(collector.requests) == relayed.bodies == len(set(lines))


def test_what_is_appended_later_is_delivered_by_the_next(home, file, collector):
    first, later = bodies(3), bodies(2, start=3)
    put(file, first)
    assert (run(home, file).bodies, run(home, file)) == (3, RelayResult())
    put(file, later)
    assert run(home, file).bodies == 2
    assert [request.body for request in collector.requests] == first + later
    assert file.read_bytes().splitlines() == first + later
    assert cursor_of(file)["offset"] == file.stat().st_size


def test_a_line_that_is_no_body_is_reported_and_skipped(home, file, collector):
    """`test_line.py` has more of them."""
    no_bodies = [b"rubbish", bodies(1)[0] + b"\r", b"\0" * 50, b'{"event_type":"' + b"x" * 3_000_000 + b'"}']
    good = bodies(len(no_bodies))
    put(file, itertools.chain.from_iterable(zip(no_bodies, good, strict=True)))
    told = []
    relayed = run(home, file, on_damage=told.append)
    assert told == list(range(1, 2 * len(no_bodies), 2))
    assert (relayed.outcome, relayed.damaged) == (Outcome.DELIVERED, len(no_bodies))
    assert set(collector.accepted) == keys(good)
    assert run(home, file) == RelayResult()
    put(file, [b"more rubbish"])
    run(home, file, on_damage=told.append)
    assert told[-1] == 2 * len(no_bodies) + 1


def test_many_invalid_lines_cost_few_writes(home, file, collector, monkeypatch):
    """Others may write to the file. The offset before a body is saved before it is sent."""
    saved, real = [], relay.OffsetFile.save
    monkeypatch.setattr(
        relay.OffsetFile, "save", lambda self, place: saved.append(place) or real(self, place)
    )
    put(file, [b"x"] * 5000)
    put(file, bodies(1))
    put(file, [b"x" * 1000] * 3000)
    relayed = run(home, file)
    assert (relayed.damaged, relayed.bodies, relayed.rest_bytes) == (8000, 1, 0)
    lines = [place.line for place in saved]
    assert (lines[:3], lines[-1], len(lines) < 10) == ([0, 5000, 5001], 8001, True)
    assert run(home, file) == RelayResult()


def test_a_last_line_without_an_end_is_left(home, file, collector):
    """Another process may be writing it; it is delivered when it is whole."""
    one, two = bodies(2)
    file.write_bytes(one + b"\n" + two)
    assert run(home, file) == RelayResult(bodies=1, events=1, rest_bytes=len(two))
    put(file, [b""])
    assert run(home, file).rest_bytes == 0
    assert set(collector.accepted) == keys([one, two])


def test_an_outage_leaves_the_rest_for_the_next(home, file, collector):
    lines, answered, fails = bodies(10), [], [True]
    put(file, lines)

    def decide(request):
        if len(answered) == 6 and fails:
            return 503
        answered.append(request.key)
        return 200

    collector.answer_by(decide)
    for count in (6, 0):
        relayed = run(home, file, timeout_s=1)
        assert (relayed.outcome, relayed.bodies) == (Outcome.UNDELIVERED, count)
        assert "503" in relayed.reason
        assert relayed.rest_bytes == sum(len(line) + 1 for line in lines[6:])
    assert homes.unsent_files(home) == []
    fails.clear()
    assert run(home, file).outcome is Outcome.DELIVERED
    assert answered == list(map(wire.key_of, lines))
    assert homes.sent(home) == lines


def test_a_short_outage_is_waited_for(home, file, collector):
    homes.configure(home, collector.url, backoff_s=0.1)
    put(file, bodies(3))
    collector.answer_with(200, 503, "reset", 500)
    assert run(home, file).outcome is Outcome.DELIVERED
    assert len(collector.accepted) == 3
    state = State.load(Home(home).host())
    assert (state.requests, state.retried, state.delivered_events, state.last_error) == (6, 3, 3, "")


class Sleepless:
    """A clock that runs only in sleep, and its sleeps."""

    def __init__(self, random):
        self.now_s, self.waits, self.meanwhile = 0.0, [], lambda: None
        self.clock = Clock(monotonic=lambda: self.now_s, sleep=self._sleep, random=lambda: random)

    def _sleep(self, seconds):
        self.waits.append(seconds)
        self.now_s += seconds
        self.meanwhile()


def test_the_pauses_grow_to_one_that_a_person_waits_for(home, file, collector):
    """The timeout counts from the last answer, and no pause begins that would outlast it."""
    homes.configure(home, collector.url, backoff_s=1, backoff_max_s=900)
    lines, time = bodies(2), Sleepless(1.0)
    put(file, lines)
    collector.answer_by(lambda request: 200 if request.key == wire.key_of(lines[0]) and time.waits else 503)
    relayed = run(home, file, timeout_s=20, clock=time.clock)
    assert time.waits == [1, 1, 2, 4, 8]
    assert (relayed.outcome, relayed.bodies) == (Outcome.UNDELIVERED, 1)


def test_a_refused_burst_comes_as_its_events(home, file, collector):
    """Each is judged by itself; if the first one is refused too, no other is sent. The refused are kept."""
    (one,) = coalesce(map(to_wire, records.series(3)))
    (other,) = coalesce(map(to_wire, records.series(3, start=5)))
    single = bodies(1, start=9)[0]
    put(file, [one, other, single])
    texts = (b"burst", b'"n":0', b'"n":6', b'"n":9')
    collector.answer_by(lambda request: 422 if any(text in request.body for text in texts) else 200)
    relayed = run(home, file)
    assert (relayed.outcome, relayed.bodies, relayed.events, relayed.rejected) == (Outcome.DELIVERED, 3, 7, 5)
    keys_of_one, keys_of_other = (
        [wire.member_key(wire.key_of(whole), index) for index in range(3)] for whole in (one, other)
    )
    assert set(collector.accepted) == {keys_of_other[0], keys_of_other[2]}
    assert homes.sent(home) == list(collector.accepted.values())
    kept = {path.stem: path for path in homes.rejected(home)}
    assert kept.keys() == {*keys_of_one, keys_of_other[1], wire.key_of(single)}
    assert kept[wire.key_of(single)].read_bytes() == single
    assert "answered 422" in kept[wire.key_of(single)].with_suffix(".reason.txt").read_text()
    state = State.load(Home(home).host())
    assert (state.rejected, state.delivered_events, state.requests) == (5, 2, 7)


def test_a_burst_that_is_sent_by_half_goes_on_from_there(home, file, collector):
    (whole,) = coalesce(map(to_wire, records.series(4)))
    put(file, [whole, *bodies(1, start=9)])
    collector.answer_with(422, 200, 200, 503)
    collector.answer_by(lambda request: 422 if b"burst" in request.body else 200)
    assert run(home, file, timeout_s=0).outcome is Outcome.UNDELIVERED
    assert cursor_of(file)["members"] == 2
    assert run(home, file).outcome is Outcome.DELIVERED
    assert len(homes.sent(home)) == len(collector.accepted) == 5
    assert len(collector.requests) == 1 + 5 + 1
    assert cursor_of(file)["members"] == 0


def test_a_sidecar_that_lives_goes_on_beside_it(home, file, collector):
    homes.configure(home, collector.url, burst_window_s=0, idle_exit_s=600, bursts=False)
    processes.emit(home, 1)
    pid = processes.running_sidecar(home)
    lines = bodies(100, start=1)
    put(file, lines)
    words = ["-m", "flwr_telemetryd.cli", "relay", str(file)]
    with processes.start(home, words, stdout=subprocess.PIPE) as started:
        processes.emit(home, 20)
        started.communicate(timeout=processes.PATIENCE_S)
    assert started.returncode == 0
    processes.wait_until(lambda: len(homes.sent(home)) == 121)
    assert keys(homes.sent(home)) == set(collector.accepted) > keys(lines)
    assert len(collector.requests) == 121
    assert processes.sidecars(home) == [pid]


def test_the_home_stays_within_its_caps(home, file, collector, monkeypatch):
    """Perhaps no sidecar ever runs in it, so the relay enforces them, while it runs and at the end."""
    homes.configure(home, collector.url, sent_max_mib=0.01)
    monkeypatch.setattr(relay, "CAPS_EVERY_BYTES", 20_000)
    most, real = [0], archive.archive

    def watched(host, *arguments):
        real(host, *arguments)
        most[0] = max(most[0], sum(path.stat().st_size for path in archive.archive_files(host)))

    monkeypatch.setattr(archive, "archive", watched)
    lines = bodies(100)
    put(file, lines)
    assert run(home, file).bodies == 100
    assert 10_000 < most[0] < 32_000
    assert 0 < sum(map(len, homes.sent(home))) < 11_000
    assert homes.sent(home)[-1] == lines[-1]


def test_what_this_home_delivered_into_the_file_is_not_taken_for_sent(home, file, collector):
    """Its own archive says that the bodies were accepted, but it was the file that took them."""
    homes.configure(home, file.as_uri())
    homes.put(home, records.series(3))
    processes.deliver(home)
    assert homes.sent(home) == file.read_bytes().splitlines()
    homes.configure(home, collector.url)
    run(home, file)
    assert set(collector.accepted) == keys(file.read_bytes().splitlines())


@pytest.mark.parametrize("status", [200, 422])
def test_what_is_forgotten_here_is_not_sent_and_what_is_on_its_way_is_not_kept(home, file, collector, status):
    put(file, bodies(3, source="gone"))

    def decide(_request):
        forgotten.add(Home(home), "gone")
        return status

    collector.answer_by(decide)
    relayed = run(home, file)
    assert (relayed.outcome, relayed.bodies, relayed.forgotten) == (Outcome.DELIVERED, 1, 2)
    put(file, bodies(1, source="gone"))
    assert run(home, file) == RelayResult(forgotten=1)
    assert len(collector.requests) == 1
    assert homes.sent(home) == homes.rejected(home) == []


def test_an_opt_out_ends_it_and_leaves_nothing(home, file, collector):
    put(file, bodies(20))
    homes.put(home, records.series(3))

    def decide(_request):
        homes.configure(home, collector.url, enabled=False)
        return Answer(429, {"Retry-After": "7"})

    collector.answer_by(decide)
    assert run(home, file).outcome is Outcome.DISABLED
    assert len(collector.requests) == 1
    assert homes.unsent_files(home) == []
    assert not (homes.host(home) / "not-before").exists()
    homes.configure(home, collector.url)
    collector.answer_by(lambda _request: 200)
    assert run(home, file).bodies == 20


def test_an_opt_out_of_the_environment_ends_it_and_deletes_nothing(home, file, collector):
    """A variable is an opt-out of this process, not of the home."""
    homes.put(home, records.series(3))
    put(file, bodies(3))
    environ = processes.environment(home)

    def decide(_request):
        environ["FLWR_TELEMETRY_ENABLED"] = "0"
        return 200

    collector.answer_by(decide)
    relayed = relay.relay_file(Home(home), environ, file, timeout_s=9)
    assert (relayed.outcome, relayed.bodies) == (Outcome.DISABLED, 1)
    assert "FLWR_TELEMETRY_ENABLED" in relayed.reason
    assert len(homes.sent(home)) == len(collector.requests) == 1
    assert len(homes.spooled(home)) == 3


def test_what_cannot_be_recorded_is_sent_again(home, file, collector, monkeypatch):
    lines = bodies(2)
    put(file, lines)
    amid(monkeypatch, lambda: fail_once(monkeypatch, "write", errno.ENOSPC), "append_line", module=archive)
    with pytest.raises(OSError, match="space"):
        run(home, file)
    monkeypatch.undo()
    assert run(home, file).bodies == 2
    assert len(collector.requests) == 3
    assert homes.sent(home) == list(collector.accepted.values()) == lines


DYING = """
import os, sys
from pathlib import Path
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin import flush
from flwr_telemetryd.admin.relay import relay

home = Home(Path(os.environ["FLWR_HOME"]))
came_to = relay.relay_file(home, os.environ, Path(os.environ["FILE"]), timeout_s=0)
sys.exit(came_to.outcome is not flush.Outcome.DELIVERED or came_to.rest_bytes > 0)
"""


def test_death_at_any_point_loses_nothing_and_repeats_what_was_in_flight(tmp_path):
    """SIGKILL before any change that a relay makes; the next one goes on and repeats one request at most."""
    (whole,) = coalesce(map(to_wire, records.series(3, start=4, cluster="c")))
    (refused,) = coalesce(map(to_wire, records.series(2, start=8, cluster="c")))
    lines = [*bodies(3), whole, refused]
    expected = keys(lines[:3]) | {wire.member_key(wire.key_of(whole), index) for index in range(3)}
    rejected = {wire.member_key(wire.key_of(refused), index) for index in range(2)}
    step = int(os.environ.get("KILLS_EVERY", "3"))

    def decide(request):
        return 422 if b"burst" in request.body or b'"n":8' in request.body else 200

    with Forks("flwr_telemetryd.admin.relay.relay", "flwr_telemetryd.delivery.http") as forks:
        for point in itertools.count(0, step):
            root = tmp_path / str(point)
            home, file = root / ".flwr", root / "metrics.jsonl"
            root.mkdir()
            with Collector() as collector:
                collector.answer_by(decide)
                homes.configure(home, collector.url)
                put(file, lines)
                env = {**processes.environment(home), "FILE": str(file)}
                death = forks.run(DYING, env, at=point, what="die")
                after = forks.run(DYING, env)
                assert after.status == 0, (death, after)
                assert set(collector.accepted) == expected, death
                assert {path.stem for path in homes.rejected(home)} == rejected, death
                assert all(path.with_suffix(".reason.txt").exists() for path in homes.rejected(home)), death
                sent = homes.sent(home)
                assert {*sent} == {*collector.accepted.values()}, death
                assert len(sent) <= len(expected) + 1, death
                answers = [request.key for request in collector.requests if b"burst" not in request.body]
                assert len(answers) <= len(expected) + 2, (death, answers)
                assert homes.unsent_files(home) == [], death
                assert cursor_of(file)["offset"] == file.stat().st_size
            if not death.struck:
                break
    assert point > step


def test_a_short_retry_after_is_waited_for_and_a_long_one_ends_it(home, file, collector):
    homes.configure(home, collector.url, backoff_max_s=900)
    put(file, bodies(2))
    not_before, time = homes.host(home) / "not-before", Sleepless(0.5)

    def meanwhile():
        assert not_before.read_text() == "30.0\n"
        homes.age(not_before, 30)

    time.meanwhile = meanwhile
    collector.answer_with(Answer(503, {"Retry-After": "30"}))
    assert run(home, file, clock=time.clock).outcome is Outcome.DELIVERED
    assert time.waits == [30 + 4]
    assert not not_before.exists()
    put(file, bodies(2, start=2))
    collector.start_afresh(lambda _request: Answer(429, {"Retry-After": "7200"}))
    for _ in range(2):
        relayed = run(home, file)
        assert relayed.outcome is Outcome.UNDELIVERED
        assert "asked for no requests" in relayed.reason
    assert len(collector.requests) == 1


def test_a_relay_to_a_collector_that_speaks_otlp(home, collector, file, monkeypatch):
    monkeypatch.setattr(otlp, "MAX_RECORDS", 2)
    homes.configure(home, collector.url, format="otlp")
    put(file, bursts := [*coalesce(map(to_wire, records.series(5)))])
    refusal = b'{"partialSuccess":{"rejectedLogRecords":2,"errorMessage":"old"}}'
    collector.answer_with(200, 503, Answer(200, body=refusal))
    result = run(home, file)
    assert (result.outcome, result.events, result.rejected) == (Outcome.DELIVERED, 5, 2)
    assert len(collector.requests) == 4
    assert wire.serials(homes.rejected_events(home)) == [2, 3]
    assert wire.serials(wire.expand_all(homes.sent(home))) == [0, 1, 4]
    assert [path.stem for path in homes.rejected(home)] == [f"{wire.key_of(bursts[0])}.2"]


def test_a_home_that_delivers_into_a_file_relays_none(home, file, tmp_path):
    homes.configure(home, f"FILE://{tmp_path}/other.jsonl")
    put(file, bodies(1))
    with pytest.raises(FileSinkError):
        run(home, file)
