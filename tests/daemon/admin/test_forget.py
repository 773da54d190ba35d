"""Forgetting an ID: everything that carries it goes, everything else stays as it is."""

import fcntl
import json
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import files, settings
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetryd.admin import forget
from flwr_telemetryd.admin.forget import ErasedCounts
from flwr_telemetryd.burst import codec
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.inspect import status
from flwr_telemetryd.inspect.deletion_request import ADDRESS
from flwr_telemetryd.outbox import archive, batch
from flwr_telemetryd.spool import segments
from flwr_telemetryd.spool.directory import entry_names, listing
from flwr_telemetryd.spool.locks import held
from tests.daemon.conftest import OURS, THEIRS, Spooling, begin_again, burst_of, make, take, take_over
from tests.support import homes, processes, records, wire
from tests.support.faults import amid
from tests.support.processes import command
from tests.support.strategies import tried

SEALED = segments.sealed_name(1)
GONE, OTHER = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1", "00000000-6bd5-4d6b-8a3c-6f2f60f0c9d1"


def series(n, source):
    return [records.sample({"n": number}, source=source) for number in range(n)]


def event(number, source=OTHER):
    return records.encode(records.sample({"n": number}, source=source))


def forget_id(home, meanwhile=lambda _now_s: None):
    """Forget the ID by a clock that runs only in sleep; something may happen in it."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds
        meanwhile(now[0])

    return forget.forget_id(Home(home), GONE, Clock(monotonic=lambda: now[0], sleep=sleep))


def erase(home):
    erased, problems = forget_id(home)
    assert problems == []
    assert forget.unfinished(Home(home)) == GONE
    forget.finish(Home(home))
    return erased


def test_damage_goes_though_the_id_lies_across_two_reads(home, host):
    host.damaged.mkdir(mode=0o700)
    for name, text in (("a.bin", GONE), ("b.bin", OTHER)):
        (host.damaged / name).write_bytes(b"\0" * (segments.CHUNK_BYTES - 7) + text.encode())
    assert erase(home) == ErasedCounts()
    assert entry_names(host.damaged) == ["b.bin"]


def archived(host, data):
    host.sent.mkdir(mode=0o700, exist_ok=True)
    day = host.sent / "2026-11-22.jsonl"
    day.write_bytes(data)
    return day


def test_an_archive_keeps_its_age_and_what_is_no_body(home, host):
    gone = burst_of(series(2, GONE))
    other = burst_of([records.sample({"n": n, "was": GONE}, source=OTHER) for n in range(2)])
    lines = [b"no body", other, b'{"context": 3}', b"x" * 3_000_000, other, b"torn"]
    day = archived(host, b"\n".join([gone, *lines[:3], gone, gone[:-9], *lines[3:]]))
    os.utime(day, (1_000_000, 1_000_000))
    assert erase(home).sent == 5
    assert (day.read_bytes(), day.stat().st_mtime) == (b"\n".join(lines), 1_000_000)
    archived(host, gone + b"\n" + gone[:-9])
    assert (erase(home).sent, entry_names(host.sent)) == (2, [])


def test_the_receipts_of_what_was_sent_go_with_it(home, host):
    bodies = [burst_of(series(2, GONE)), burst_of(series(3, GONE)), burst_of(series(2, OTHER))]
    now = datetime(2026, 11, 22, tzinfo=UTC)
    for body, key in zip(bodies, (wire.key_of(bodies[0]), "5" * 64, wire.key_of(bodies[2])), strict=True):
        archive.archive(host, body, archive.receipt(key, now, 200, "https://x/y"))
    assert erase(home).sent == 5
    assert homes.sent(home) == bodies[2:]
    assert [receipt["key"] for receipt in homes.receipts(home)] == [wire.key_of(bodies[2])]


def test_what_a_sidecar_archives_meanwhile_is_kept(home, host, monkeypatch):
    """It had the old file open: what it added there, and what is of another ID, is added to the new one."""
    gone, other = burst_of(series(2, GONE)) + b"\n", burst_of(series(2, OTHER)) + b"\n"
    day = archived(host, gone)
    replace = files.replace_by

    def late(*arguments, **options):
        replace(*arguments, **options)
        if arguments[0] == day:
            sidecars.write(other + gone)

    monkeypatch.setattr(files, "replace_by", late)
    with day.open("ab", buffering=0) as sidecars:
        erase(home)
    assert day.read_bytes() == other


def test_a_burst_that_is_being_split_is_counted_once(home, host):
    whole = burst_of(series(3, GONE))
    directory = host.outbox / "1"
    directory.mkdir(parents=True, mode=0o700)
    key = wire.key_of(whole)
    (directory / f"{key}.split").write_bytes(whole)
    for index, event in enumerate(wire.expand(whole)[:2]):
        (directory / f"{wire.member_key(key, index)}.json").write_text(codec.dumps(event))
    assert erase(home).outbox == 3
    assert not directory.exists()


def test_a_committed_segment_that_was_not_discarded_is_no_second_copy(home, host):
    homes.put(home, series(2, GONE), name=SEALED)
    committed = make(host, take(host))
    assert any(path.name.endswith(".taken") for path in committed.iterdir())
    assert erase(home) == ErasedCounts(outbox=2)
    assert not committed.exists()


@pytest.mark.parametrize("node", [None, "node7"])
def test_a_batch_whose_maker_is_dead_is_gone_through_at_once(home, host, node):
    homes.put(home, [*series(2, GONE), *series(1, OTHER)], name=SEALED, host_of=node)
    made = take(Home(home).host(node) if node else host)
    if node:
        homes.age(made.path, 10_000)
    assert erase(home) == ErasedCounts(spool=2)
    (body,) = homes.host(home, node).glob("outbox/*/*.json")
    assert [event["context"]["source"] for event in wire.expand(body.read_bytes())] == [OTHER]
    assert homes.spooled(home) == []


@pytest.mark.parametrize("is_written", [True, False])
def test_a_batch_that_a_sidecar_is_making_is_waited_for(home, host, is_written):
    homes.put(home, series(2, GONE), name=SEALED)
    made, committed = take(host), []
    if is_written:
        batch.write(made, bursts=True, hardware={})

    def commit(now_s):
        assert now_s < forget.WAIT_S
        if not committed and now_s > 1:
            committed.append(batch.commit(made) if is_written else make(host, made))

    with held(host, 0, create=True):
        assert forget_id(home, commit) == (ErasedCounts(outbox=2), [])
    assert homes.unsent_files(home) == []


@tried(60)
@given(
    parts=st.lists(
        st.lists(st.one_of(st.booleans(), st.binary(max_size=40)), max_size=6), min_size=1, max_size=4
    )
)
def test_only_what_is_of_the_id_leaves_the_spool(tmp_path_factory, parts):
    home = tmp_path_factory.mktemp("any") / ".flwr"
    host = Home(home).host()
    host.root.mkdir(mode=0o700, parents=True)
    host.telemetry.chmod(0o700)
    numbers, gone = [], 0
    for at_ns, part in enumerate(parts):
        data = b""
        for number, what in enumerate(part, start=10 * at_ns):
            if isinstance(what, bytes):
                data += what
            elif what:
                data += event(number, GONE)
                gone += 1
            else:
                data += event(number)
                numbers.append(number)
        if data:
            homes.put_bytes(home, data, name=segments.sealed_name(at_ns) if at_ns else "events.msgpack")
    assert erase(home) == ErasedCounts(spool=gone)
    assert not any(GONE.encode() in data for data in homes.contents(home).values())
    assert (entry_names(host.work), begin_again(host, Spooling(host))) == ([], sorted(numbers))
    damage = sum(len(what) for part in parts for what in part if isinstance(what, bytes))
    assert sum(path.stat().st_size for path in listing(host.damaged)) == damage


def test_a_part_that_was_delivered_is_not_delivered_again(home, host, spooling):
    before = event(1) + event(2, GONE)
    name = segments.sealed_name(1, len(before))
    homes.put_bytes(home, before + event(3, GONE) + event(4), name=name)
    assert erase(home) == ErasedCounts(spool=1)
    assert not any(GONE.encode() in data for data in homes.contents(home).values())
    assert begin_again(host, spooling) == [4]


def test_segments_of_nothing_else_leave_nothing(home, host):
    homes.put_bytes(home, event(1, GONE), name=SEALED)
    homes.put_bytes(home, event(2, GONE))
    assert erase(home) == ErasedCounts(spool=2)
    for directory in (host.spool, host.work, host.outbox, host.damaged):
        assert entry_names(directory) == []
    before = homes.contents(home)
    assert erase(home) == ErasedCounts()
    assert homes.contents(home) == before


@pytest.mark.parametrize("bursts", [True, False])
def test_events_of_others_are_as_the_sidecar_would_send_them(home, host, bursts):
    homes.configure(home, bursts=bursts)
    for name in (None, "node7"):
        homes.put_bytes(home, event(1) + event(2, GONE) + event(3), host_of=name)
    assert erase(home) == ErasedCounts(spool=2)
    for name, is_own in ((host.name, True), ("node7", False)):
        bodies = [path.read_bytes() for path in homes.host(home, name).glob("outbox/*/*.json")]
        assert len(bodies) == (1 if bursts else 2)
        events = wire.expand_all(bodies)
        assert wire.serials(events) == [1, 3]
        assert [("memory_gib" in each["context"]["hw"]) for each in events] == [is_own] * 2


def test_damage_counts_as_damage_and_nothing_else_does(home, host):
    """`status` tells of the damage that lay between; events that were left out are no loss."""
    homes.put_bytes(home, event(1) + b"torn" + event(2, GONE) + b"torn, too" + event(3, GONE))
    erase(home)
    (view,) = status.read_status(Home(home), {}).hosts
    assert (view.counters.damaged, view.counters.dropped, view.counters.rejected) == (2, 0, 0)


def test_a_sidecar_that_may_live_keeps_its_batch(home, host, spooling):
    """It leaves the events out when it begins the batch again."""
    homes.put_bytes(home, event(1) + event(2, GONE), name=SEALED)
    made = take(host, THEIRS)
    batch.write(made, bursts=True, hardware={})
    with held(host, 0, create=True):
        erased, problems = forget_id(home)
    assert (erased.spool, len(problems), made.path.exists()) == (0, 1, True)
    assert begin_again(host, spooling) == [1]


def test_an_adopted_batch_stays_adopted(home, host, spooling):
    """Its events are other hosts', and must not get the hardware facts of this one."""
    homes.put_bytes(home, event(1) + event(2, GONE), name=SEALED, host_of="node")
    homes.put_bytes(home, event(3, GONE), name=segments.sealed_name(2), host_of="node")
    assert batch.take(host, THEIRS, 1, [HostPaths(host.telemetry, "node")]) is not None
    assert erase(home) == ErasedCounts(spool=2)
    (committed,) = host.outbox.iterdir()
    assert committed.name.endswith("-adopted")
    (body,) = spooling.bodies()
    assert "memory_gib" not in json.loads(body)["context"]["hw"]
    assert begin_again(host, spooling) == [1]


@pytest.mark.parametrize("race", [12, 13])
def test_what_a_writer_without_the_lock_adds_is_not_lost(home, host, spooling, monkeypatch, race):
    """It appends after its segment was read: events of other IDs go back to the spool."""
    path = homes.put_bytes(home, event(1) + event(2, GONE), name=SEALED)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    commit = batch.commit

    def append():
        os.write(descriptor, event(3) + event(4, GONE))

    def late(made):
        monkeypatch.undo()
        if race == 12:
            append()
        else:
            amid(monkeypatch, append, "unlink")
        return commit(made)

    monkeypatch.setattr(batch, "commit", late)
    assert erase(home) == ErasedCounts(spool=2)
    monkeypatch.undo()
    os.close(descriptor)
    assert begin_again(host, spooling) == [1, 3]


@pytest.mark.parametrize(
    ("call", "after"), [("open", 0), ("fsync", 0), ("rename", 0), ("rename", 1), ("rename", 2)]
)
def test_a_sidecar_that_takes_the_batch_over_has_it(home, host, spooling, monkeypatch, call, after):
    """It holds the lock of the host; the loser of the rename leaves the batch."""
    homes.put_bytes(home, event(1) + event(2, GONE), name=SEALED)
    homes.put_bytes(home, event(3) + event(4, GONE), name=segments.sealed_name(2))
    taken, real = [], batch.write

    def write(*arguments, **options):
        monkeypatch.undo()
        amid(monkeypatch, lambda: taken.extend(take_over(host, OURS)), call, after=after)
        return real(*arguments, **options)

    monkeypatch.setattr(batch, "write", write)
    with held(host, 0, create=True):
        erased, _ = forget_id(home)
    monkeypatch.undo()
    assert (len(taken), erased) == (1, ErasedCounts())
    assert begin_again(host, spooling) == [1, 3]
    assert erase(home) == ErasedCounts()


def test_nothing_is_deleted_through_a_link(home, host, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2026-11-22.jsonl").write_bytes(burst_of(series(2, GONE)) + b"\n")
    host.sent.symlink_to(elsewhere)
    homes.put(home, series(3, GONE), host_of="node7")
    erased, (problem,) = forget_id(home)
    assert ("is a link" in problem, erased) == (True, ErasedCounts(spool=3))
    assert homes.tree(elsewhere) == ["2026-11-22.jsonl"]
    host.sent.unlink()
    elsewhere.chmod(0o700)
    elsewhere.rename(host.sent)
    assert erase(home) == ErasedCounts(sent=2)
    homes.put(home, series(3, GONE))
    host.root.rename(elsewhere)
    host.root.symlink_to(elsewhere)
    erased, (problem,) = forget_id(home)
    assert (str(host.root) in problem, erased) == (True, ErasedCounts())


@pytest.mark.parametrize("where", ["open segment", "committed segment"])
def test_what_another_process_holds_is_told(home, host, where):
    """A writer was stopped while it held the lock. The next call deletes its segment."""
    path = homes.put(home, series(2, GONE), name="events.msgpack" if where == "open segment" else SEALED)
    if where == "committed segment":
        (path,) = make(host, take(host)).glob("*.taken")
    with path.open("r+b") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        _, (problem,) = forget_id(home)
    assert "another process" in problem
    assert forget.unfinished(Home(home)) == GONE
    erase(home)
    assert homes.unsent_files(home) == []


def test_the_way_back_is_there_until_all_is_told(home, host, monkeypatch):
    """After a death at any moment the next call knows the ID, though its file is gone."""
    (home / "source").write_text(GONE)
    homes.put(home, series(3, GONE))

    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "write", die)
    with pytest.raises(KeyboardInterrupt):
        forget_id(home)
    monkeypatch.undo()
    assert not (home / "source").exists()
    assert forget.unfinished(Home(home)) == GONE
    told = json.loads(processes.command(home, "forget", "--yes", "--json").stdout)
    assert (told["source"], told["deleted"]["spool"]) == (GONE, 3)
    assert forget.unfinished(Home(home)) is None
    assert GONE.encode() not in b"".join(homes.contents(home).values())


def test_what_was_never_finished_goes_too(home, host):
    body = burst_of(series(2, GONE))
    torn = records.encode(series(1, GONE)[0])[:-3]
    files_with_it = {
        "sent/.2026-11-22.jsonl.7.part": body,
        "outbox/1/.k.json.7.part": body,
        "rejected/k.reason.txt": b"400: " + body,
        ".spool.ab.purged/events.msgpack": torn,
        "spool/events.msgpack": torn,
    }
    for name, data in files_with_it.items():
        path = host.root / name
        path.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
        path.parent.chmod(0o700)
        path.write_bytes(data)
    host.outbox.chmod(0o700)
    erase(home)
    assert not any(GONE.encode() in data for data in homes.contents(home).values())


OWN = "https://collector.example.org/x"
PAGE = "https://example.org/delete?a=b@c"


@pytest.mark.parametrize(
    ("url", "contact", "to", "link"),
    [
        (OWN, "privacy@example.org", "privacy@example.org", "mailto:privacy@example.org?subject="),
        (OWN, "a%b@example.org", "a%b@example.org", "mailto:a%25b@example.org?subject="),
        (OWN, PAGE, PAGE, None),
        ("file:///shared/metrics.jsonl", "privacy@example.org", "privacy@example.org", "mailto:privacy@"),
        (OWN, None, ADDRESS, "mailto:telemetry@flower.ai?"),
        (
            settings.DEFAULT_URL,
            "privacy@example.org",
            ADDRESS,
            "mailto:telemetry@flower.ai?",
        ),
        ("https://telemetry.flower.ai:8443/v2", "privacy@example.org", ADDRESS, "mailto:"),
    ],
)
def test_the_request_goes_to_the_receiver_of_the_events(home, url, contact, to, link):
    """An organisation with a collector of its own names its contact; Flower has nothing to delete then."""
    homes.configure(home, url, **({"deletion_contact": contact} if contact else {}))
    (home / "source").write_text(GONE)
    done = command(home, "forget", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)["request"]
    assert shown["to"] == to
    assert shown["mailto"] == to if link is None else shown["mailto"].startswith(link)


def test_people_read_whom_to_ask(home):
    for contact, told in ({}, "ask its operator"), ({"deletion_contact": PAGE}, "by the page below"):
        homes.configure(home, OWN, **contact)
        (home / "source").write_text(GONE)
        assert told in command(home, "forget", "--yes").stdout
