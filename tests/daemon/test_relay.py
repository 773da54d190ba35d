"""Relay: a file of bodies is delivered byte for byte, once, whatever interrupts it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry.layout import Home
from flwr_telemetry.record import to_wire
from flwr_telemetry.settings_file import Limits
from flwr_telemetryd import burst, chunks, drain, forgotten, outbox, relay, retention, segments
from flwr_telemetryd.backlog import Left
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.drain import Outcome
from flwr_telemetryd.errors import NoSuchFileError, NoWayOutError
from flwr_telemetryd.relayed import Relayed
from tests.support import homes, processes, records, wire
from tests.support.collector import Answer, Collector
from tests.support.dying import Lives
from tests.support.strategies import events, tried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flwr_telemetry.layout import HostPaths
    from flwr_telemetryd.body import Body


def bodies(count: int, start: int = 0) -> list[bytes]:
    """Give bodies of one event each."""
    return [burst.dumps(to_wire(event)).encode() for event in records.series(count, start=start)]


def keys(lines: Iterable[bytes]) -> set[str]:
    """Give the keys under which these lines have to arrive."""
    return set(map(wire.key_of, lines))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the path of the file, in a directory of its own."""
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared" / "metrics.jsonl"


def put(file: Path, lines: Iterable[bytes]) -> None:
    with file.open("ab") as out:
        out.writelines(line + b"\n" for line in lines)


def run(home: Path, file: Path, patience_s: float = processes.PATIENCE_S, **options: Any) -> Relayed:
    return relay.relay(Home(home), processes.environment(home), file, patience_s=patience_s, **options)


def cursor_of(file: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(file.with_name(f"{file.name}.relayed").read_bytes())
    return told


def test_whatever_the_bodies_are_each_arrives_under_the_hash_of_its_line(
    home: Path, file: Path, collector: Collector
) -> None:
    """A property: bytes and keys are those of the lines; what stands there twice is sent once a chunk."""
    lines: list[bytes] = []

    @tried(60)
    @given(st.lists(events, min_size=1, max_size=6), st.booleans())
    def collect(some: list[Any], bursts: bool) -> None:
        lines.extend(burst.coalesce(map(to_wire, some), bursts=bursts))

    collect()
    homes.configure(home, collector.url)
    put(file, itertools.chain.from_iterable((line, b"", line) for line in lines))
    relayed = run(home, file)
    assert (relayed.outcome, relayed.damaged, relayed.rest_bytes) == (Outcome.DELIVERED, 0, 0)
    assert set(collector.accepted) == keys(lines)
    assert collector.accepted == {wire.key_of(line): line for line in lines}
    assert len(collector.requests) == relayed.bodies == len(set(lines))


def test_what_is_appended_later_is_delivered_by_the_next(
    home: Path, file: Path, collector: Collector
) -> None:
    """Nothing is sent again, and nothing new is no fault; the file stays as it was."""
    homes.configure(home, collector.url)
    first, later = bodies(3), bodies(2, start=3)
    put(file, first)
    assert run(home, file).bodies == 3
    assert run(home, file) == Relayed()
    put(file, later)
    assert run(home, file).bodies == 2
    assert [request.body for request in collector.requests[3:]] == sorted(later, key=wire.key_of)
    assert file.read_bytes().splitlines() == first + later
    assert cursor_of(file)["offset"] == file.stat().st_size


NO_BODIES = [
    b"rubbish",
    b"{}",
    b'{"event_type":"PING","event_details":{}}',
    bodies(1)[0][:-7],
    bodies(1)[0] + b"\r",
    b" " + bodies(1)[0],
    b"\0" * 50,
    b"[" * 100_000,
    b'{"event_type":"' + b"x" * 3_000_000 + b'"}',
    burst.dumps({**json.loads(bodies(1)[0]), "burst": {"count": 0}}).encode(),
]


def test_a_line_that_is_no_body_is_told_and_passed_by(home: Path, file: Path, collector: Collector) -> None:
    """It is told by its number, once, and costs no other line anything."""
    homes.configure(home, collector.url)
    good = bodies(len(NO_BODIES))
    put(file, itertools.chain.from_iterable(zip(NO_BODIES, good, strict=True)))
    told: list[int] = []
    relayed = run(home, file, on_damage=told.append)
    assert told == list(range(1, 2 * len(NO_BODIES), 2))
    assert (relayed.outcome, relayed.damaged) == (Outcome.DELIVERED, len(NO_BODIES))
    assert set(collector.accepted) == keys(good)
    assert run(home, file) == Relayed()
    put(file, [b"more rubbish"])
    run(home, file, on_damage=told.append)
    assert told[-1] == 2 * len(NO_BODIES) + 1


def test_a_last_line_without_an_end_is_left(home: Path, file: Path, collector: Collector) -> None:
    """Somebody may be writing it; it is delivered when it is whole."""
    homes.configure(home, collector.url)
    one, two = bodies(2)
    file.write_bytes(one + b"\n" + two)
    relayed = run(home, file)
    assert (relayed.outcome, relayed.bodies, relayed.rest_bytes) == (Outcome.DELIVERED, 1, len(two))
    put(file, [b""])
    assert run(home, file).rest_bytes == 0
    assert set(collector.accepted) == keys([one, two])


def test_another_file_under_the_name_is_read_from_its_beginning(
    home: Path, file: Path, collector: Collector
) -> None:
    """As after a rotation: whether it is shorter or longer than the one before."""
    homes.configure(home, collector.url)
    put(file, bodies(2))
    run(home, file)
    for count in (1, 5):
        file.unlink()
        put(file, bodies(count))
        assert run(home, file).from_start
        assert set(collector.accepted) >= keys(file.read_bytes().splitlines())


def test_an_outage_leaves_the_rest_for_the_next(
    home: Path, file: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted is not sent again, what was not is neither lost nor piled up in the outbox."""
    monkeypatch.setattr(chunks, "MAX_BODIES", 4)
    homes.configure(home, collector.url)
    lines = bodies(10)
    put(file, lines)
    collector.answer_by(lambda _request: 200 if len(collector.accepted) < 6 else 503)
    for _ in range(2):
        relayed = run(home, file, patience_s=1)
        assert relayed.outcome is Outcome.UNDELIVERED
        assert "503" in relayed.reason
        assert relayed.rest_bytes == sum(len(line) + 1 for line in lines[4:])
    assert len(homes.waiting(home)) == 2
    collector.answer_by(lambda _request: 200)
    assert run(home, file).outcome is Outcome.DELIVERED
    answered = [request.key for request in collector.requests if request.key in collector.accepted]
    assert set(collector.accepted) == keys(lines)
    assert len(homes.sent(home)) == len(lines)
    assert len(answered) >= len(lines)


def test_a_refused_burst_comes_as_its_events(home: Path, file: Path, collector: Collector) -> None:
    """The sidecar splits it; what is refused alone is kept in `rejected/` and is done."""
    homes.configure(home, collector.url)
    (whole,) = burst.coalesce(map(to_wire, records.series(3)))
    single = bodies(1, start=9)[0]
    put(file, [whole, single])

    def decide(request: Any) -> int:
        return 422 if b"burst" in request.body or b'"n":9' in request.body else 200

    collector.answer_by(decide)
    relayed = run(home, file)
    assert (relayed.outcome, relayed.events, relayed.rejected) == (Outcome.DELIVERED, 4, 1)
    assert set(collector.accepted) == {wire.member_key(wire.key_of(whole), index) for index in range(3)}
    assert [path.stem for path in homes.rejected(home)] == [wire.key_of(single)]


def test_a_sidecar_that_lives_delivers_it(home: Path, file: Path, collector: Collector) -> None:
    """It is asked, and stays; it never takes a chunk that is being put into the outbox for its own."""
    homes.configure(home, collector.url, burst_window_s=600, idle_exit_s=600)
    processes.emit(home, 1)
    pid = processes.running_sidecar(home)
    lines = bodies(400, start=1)
    put(file, lines)
    assert run(home, file).outcome is Outcome.DELIVERED
    assert keys(lines) < set(collector.accepted)
    assert len(collector.requests) == 401
    assert processes.sidecars(home) == [pid]


def test_what_this_home_delivered_into_the_file_is_not_taken_for_sent(
    home: Path, file: Path, collector: Collector
) -> None:
    """Its own archive says that the bodies were accepted, but it was the file that took them."""
    homes.configure(home, file.as_uri())
    homes.put(home, records.series(3))
    processes.deliver(home)
    assert homes.sent(home) == file.read_bytes().splitlines()
    homes.configure(home, collector.url)
    run(home, file)
    assert set(collector.accepted) == keys(file.read_bytes().splitlines())


def test_what_was_forgotten_here_is_not_sent(home: Path, file: Path, collector: Collector) -> None:
    """An ID that the user had forgotten in this home does not go out through it."""
    homes.configure(home, collector.url)
    gone = burst.dumps(to_wire(records.sample({"n": 9}, source="gone"))).encode()
    forgotten.add(Home(home), "gone")
    put(file, [gone, *bodies(1)])
    relayed = run(home, file)
    assert (relayed.outcome, relayed.bodies, relayed.forgotten) == (Outcome.DELIVERED, 1, 1)
    assert wire.key_of(gone) not in collector.accepted


def test_a_chunk_takes_half_of_the_room_that_the_cap_leaves(
    home: Path, file: Path, collector: Collector
) -> None:
    """Nothing of this home is dropped for it, and a body for which there is no room is left and told."""
    homes.configure(home, collector.url, spool_max_mib=0.01)
    lines = bodies(30)
    put(file, lines)
    assert run(home, file).outcome is Outcome.DELIVERED
    assert set(collector.accepted) == keys(lines)
    put(file, [burst.dumps(to_wire(records.sample({"n": 1, "pad": "x" * 8000}))).encode()])
    relayed = run(home, file)
    assert relayed.outcome is Outcome.UNDELIVERED
    assert "no room for line 31" in relayed.reason
    assert not (homes.host(home) / "dropped").exists()


def test_what_a_cap_drops_is_handed_over_again(home: Path, file: Path, collector: Collector) -> None:
    """It is in the file still, so it is not lost: the cursor stays before it."""
    homes.configure(home, collector.url, spool_max_days=0)
    put(file, bodies(3))
    relayed = run(home, file)
    assert relayed.outcome is Outcome.UNDELIVERED
    assert "dropped 3 events" in relayed.reason
    homes.configure(home, collector.url)
    assert run(home, file).bodies == 3
    assert len(collector.accepted) == 3


def test_a_no_in_the_middle_ends_it_and_leaves_nothing(home: Path, file: Path, collector: Collector) -> None:
    """Whoever switches telemetry off finds nothing in the outbox afterwards."""
    homes.configure(home, collector.url)
    put(file, bodies(20))

    def decide(_request: object) -> int:
        homes.configure(home, collector.url, enabled=False)
        return 503

    collector.answer_by(decide)
    assert run(home, file).outcome is Outcome.DISABLED
    assert len(collector.requests) == 1
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "unreadable"])
def test_what_is_no_file_is_refused(home: Path, file: Path, collector: Collector, kind: str) -> None:
    """In words, before anything is created; a FIFO holds nobody."""
    homes.configure(home, collector.url)
    if kind == "directory":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "unreadable":
        file = file / "below a file"
        file.parent.touch()
    with pytest.raises(NoSuchFileError, match=file.name):
        run(home, file)
    assert [path.name for path in file.parent.parent.glob("**/*.relayed")] == []


def test_a_home_that_delivers_into_a_file_is_no_way_out(home: Path, file: Path) -> None:
    """It would write the file into itself."""
    homes.configure(home, file.as_uri())
    put(file, bodies(1))
    with pytest.raises(NoWayOutError, match="--home"):
        run(home, file)


DYING = """
import os, sys
from pathlib import Path
from flwr_telemetry.layout import Home
from flwr_telemetryd import __main__, chunks, drain, relay
from flwr_telemetryd.backlog import Left

def here(*_, **__):  # in this very process, so that it can be struck there, too
    outcome = drain.Outcome.UNDELIVERED if __main__.main(["--once"]) else drain.Outcome.DELIVERED
    return drain.Drained(outcome, Left(0, 0), Left(0, 0), 0, "")

chunks.MAX_BODIES = 2
drain.drain = here
came_to = relay.relay(Home(Path(os.environ["FLWR_HOME"])), os.environ, Path(os.environ["FILE"]), patience_s=0)
sys.exit(came_to.outcome is not drain.Outcome.DELIVERED or came_to.rest_bytes > 0)
"""


def test_death_at_any_point_loses_nothing_and_repeats_what_was_in_flight(tmp_path: Path) -> None:
    """SIGKILL before any change that a relay makes; the next one goes on and repeats one request at most."""
    (whole,) = burst.coalesce(map(to_wire, records.series(2, start=4, cluster="c")))
    lines = [*bodies(3), whole]
    expected = keys(lines[:3]) | {wire.member_key(wire.key_of(whole), index) for index in range(2)}
    step = int(os.environ.get("KILLS_EVERY", "7"))
    with Lives("flwr_telemetryd.__main__", "flwr_telemetryd.relay", "flwr_telemetryd.sinks.http") as lives:
        for point in itertools.count(0, step):
            root = tmp_path / str(point)
            home, file = root / ".flwr", root / "metrics.jsonl"
            root.mkdir()
            with Collector() as collector:
                collector.answer_by(lambda request: 422 if b"burst" in request.body else 200)
                homes.configure(home, collector.url)
                put(file, lines)
                env = {**processes.environment(home), "FILE": str(file)}
                death = lives.live(DYING, env, at=point, what="die")
                after = lives.live(DYING, env)
                assert after.status == 0, (death, after)
                assert set(collector.accepted) == expected, death
                answers = [request.key for request in collector.requests if b"burst" not in request.body]
                assert len(answers) <= len(expected) + 1, (death, answers)
                assert homes.unsent_files(home) == [], death
                assert cursor_of(file)["offset"] == file.stat().st_size
            if not death.struck:
                break
    assert point > step


def test_a_retry_after_is_heeded(home: Path, file: Path, collector: Collector) -> None:
    """It is told, and nobody is asked again before its time."""
    homes.configure(home, collector.url)
    put(file, bodies(2))
    collector.answer_by(lambda _request: Answer(429, {"Retry-After": "7200"}))
    for _ in range(2):
        relayed = run(home, file)
        assert relayed.outcome is Outcome.UNDELIVERED
        assert "left alone" in relayed.reason
    assert len(collector.requests) == 1


def adopting(monkeypatch: pytest.MonkeyPatch, home: Path, then: Callable[[HostPaths], None]) -> None:
    """Have a service of another host adopt what is handed over before it is delivered here, and go on."""
    other = Home(home).host("login2")
    real = drain.drain

    def drained(*args: Any, **options: Any) -> drain.Drained:
        other.root.mkdir(mode=0o700, exist_ok=True)
        Home(home).heartbeat("login2").write_text("{}")  # it lives: nobody adopts from it
        for directory in segments.listing(Home(home).host().outbox):
            outbox.adopt(directory, other)
        done = real(*args, **options)
        then(other)
        return done

    monkeypatch.setattr(drain, "drain", drained)


def stopped(_host: HostPaths) -> None:
    """Be a service that does nothing any more."""


def held_by(host: HostPaths) -> list[Body]:
    return list(outbox.due(host))


def test_what_another_host_adopted_and_does_not_send_is_not_delivered(
    home: Path, file: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told who has it; the next relay leaves it there, and is done when that host has sent it."""
    homes.configure(home, collector.url)
    lines = bodies(3)
    put(file, lines)
    other = Home(home).host("login2")
    adopting(monkeypatch, home, stopped)
    for _ in range(2):
        relayed = run(home, file, patience_s=0.3)
        assert (relayed.outcome, relayed.bodies) == (Outcome.UNDELIVERED, 0)
        assert "login2" in relayed.reason
        assert relayed.rest_bytes == file.stat().st_size
        assert {body.key for body in held_by(other)} == keys(lines)
        assert homes.waiting(home) == []

    def deliver(host: HostPaths) -> None:
        """Accept one body, and reject the others, one at a time."""
        for body in held_by(host)[:1]:
            if not host.sent.exists():
                outbox.archive(body, body.read(), Clock().now())
                outbox.remove(body)
            else:
                outbox.reject(body, "no")

    adopting(monkeypatch, home, deliver)
    relayed = run(home, file)
    assert (relayed.outcome, relayed.bodies, relayed.rejected) == (Outcome.DELIVERED, 3, 2)
    assert collector.requests == []


def test_what_another_host_has_sent_is_not_handed_over_again(
    home: Path, file: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its archive tells that, after a relay that had given up."""
    homes.configure(home, collector.url)
    put(file, bodies(3))
    other = Home(home).host("login2")
    with monkeypatch.context() as patch:
        adopting(patch, home, stopped)
        assert run(home, file, patience_s=0.3).outcome is Outcome.UNDELIVERED
    for body in held_by(other):
        outbox.archive(body, body.read(), Clock().now())
        outbox.remove(body)
    assert (run(home, file).outcome, homes.waiting(home), collector.requests) == (Outcome.DELIVERED, [], [])


@pytest.mark.parametrize("is_gone", [False, True])
def test_what_a_cap_drops_on_another_host_is_handed_over_again(
    home: Path, file: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    """Whether that host is there still, or its count was added to that of another one."""
    homes.configure(home, collector.url)
    put(file, bodies(3))

    def drop(host: HostPaths) -> None:
        retention.enforce(Home(home), Limits(spool_max_days=0), time.time() + 9)
        if is_gone:
            third = Home(home).host("login3")
            third.root.mkdir(mode=0o700, exist_ok=True)
            host.dropped.rename(third.dropped)
            shutil.rmtree(host.root)

    with monkeypatch.context() as patch:
        adopting(patch, home, drop)
        relayed = run(home, file)
    assert (relayed.outcome, relayed.bodies) == (Outcome.UNDELIVERED, 0)
    assert "dropped 3 events" in relayed.reason
    assert run(home, file).bodies == 3
    assert len(collector.accepted) == 3


def test_what_a_cap_drops_of_others_is_no_fault(
    home: Path, file: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archives tell that it was none of these, of a split burst too."""
    homes.configure(home, collector.url)
    (whole,) = burst.coalesce(map(to_wire, records.series(3)))
    put(file, [whole, *bodies(1, start=9)])
    collector.answer_by(lambda request: 422 if b"burst" in request.body else 200)
    real = drain.drain

    def drained(*args: Any, **options: Any) -> drain.Drained:
        Home(home).host().dropped.write_bytes(b"\0")
        return real(*args, **options)

    monkeypatch.setattr(drain, "drain", drained)
    assert run(home, file).outcome is Outcome.DELIVERED


def test_that_others_are_delivered_is_no_reason_to_go_on(
    home: Path, file: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a training that never ends, something leaves all the time, and none of the file."""
    homes.configure(home, collector.url)
    put(file, bodies(1))
    now, rounds = [0.0], itertools.count()
    batch = homes.host(home) / "outbox" / "b1"
    batch.mkdir(mode=0o700, parents=True)
    (batch / "-1.json").touch()

    def busy(*_: Any, timeout_s: float, **__: Any) -> drain.Drained:
        """Deliver the body of an event, and leave that of the next."""
        turn = next(rounds)
        assert turn < 20, "it goes on and on"
        (batch / f"{turn}.json").touch()
        (batch / f"{turn - 1}.json").unlink(missing_ok=True)
        now[0] += timeout_s
        return drain.Drained(Outcome.UNDELIVERED, Left(1, 1), Left(1, 1), 0, "no answer")

    monkeypatch.setattr(drain, "drain", busy)
    relayed = run(home, file, patience_s=20, clock=Clock(monotonic=lambda: now[0]))
    assert (relayed.outcome, relayed.reason) == (Outcome.UNDELIVERED, "no answer")
    assert now[0] <= 20
