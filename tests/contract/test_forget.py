"""`source` shows the ID; `forget` deletes all that carries it, and prints a request for the rest."""

import hashlib
import os
import shutil
import uuid
from datetime import datetime
from urllib.parse import unquote

import pytest

from tests.support import homes, processes, records, wire
from tests.support.commands import answer_of, ran
from tests.support.processes import command

MINE = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1"
OTHER = "11111111-1111-4111-8111-111111111111"
ADDRESS = "telemetry@flower.ai"
EARLIER = "0" * 64


def hash_of(source):
    return hashlib.sha256(source.encode()).hexdigest()


def forgotten(home):
    return (homes.telemetry(home) / "forgotten").read_text().splitlines()


def source_of(home):
    return (home / "source").read_text().strip()


def carriers(home, source):
    return [name for name, data in homes.contents(home).items() if source.encode() in data]


def of(source, start, count, **fields):
    return records.series(count, start=start, source=source, **fields)


def mixed(*, start):
    mine, other = of(MINE, start, 3), of(OTHER, start + 3, 4)
    return [other[0], mine[0], other[1], mine[1], other[2], mine[2], other[3]]


def unsent_of(home, source, host=None):
    """Give the events of an ID that wait on a host, in segments and in bodies."""
    root = homes.host(home, host)
    spooled = [event for path in root.glob("spool/*.msgpack") for event in records.decode(path.read_bytes())]
    bodies = wire.expand_all(path.read_bytes() for path in root.glob("outbox/*/*.json"))
    waiting = [*spooled, *map(wire.plain, bodies)]
    return wire.bag(event for event in waiting if event["context"]["source"] == source)


def lines_of_archives(home):
    archives = homes.telemetry(home).glob("*/sent/????-??-??.jsonl")
    return sorted(line for path in archives for line in path.read_bytes().splitlines(keepends=True))


def others(things):
    return [thing for thing in things if MINE.encode() not in thing]


def furnish(home, collector):
    """Let two IDs have something in every stage of two hosts: sent, rejected, in bodies and in segments."""
    homes.configure(home, collector.url, adopt_after_s=60)
    collector.answer_by(lambda request: 422 if b"REFUSED" in request.body else 200)
    past = [*of(MINE, 0, 3), *of(OTHER, 3, 1)]
    homes.put(home, [*past, *of(MINE, 10, 1, event_type="REFUSED"), *of(OTHER, 11, 1, event_type="REFUSED")])
    processes.deliver(home)
    collector.answer_by(lambda _request: 503)
    homes.put(home, [*of(MINE, 20, 2), *of(MINE, 22, 1, event_type="ALONE"), *of(OTHER, 23, 3)])
    processes.once(home)
    assert (len(homes.sent(home)), len(homes.rejected(home)), len(homes.waiting(home))) == (2, 2, 3)
    homes.copy_tree(homes.host(home), homes.host(home, "node-7"))
    shutil.rmtree(homes.host(home, "node-7") / "outbox")
    homes.put(home, mixed(start=30))
    homes.put(home, of(OTHER, 40, 2), name="sealed-1700000000000000000-abcd.msgpack")
    homes.put(home, of(MINE, 45, 2), name="sealed-1700000000000000001-abcd.msgpack")
    homes.put(home, mixed(start=50), host_of="node-7")
    (home / "source").write_text(f"{MINE}\n")
    (homes.telemetry(home) / "forgotten").write_text(f"{EARLIER}\n")


def assert_request(request):
    """Assert that this asks for the deletion of my ID, ready to be sent, also as a link."""
    assert request.keys() == {"to", "subject", "body", "mailto"}
    assert request["to"] == ADDRESS
    assert request["subject"].strip()
    assert MINE in request["body"]
    head, _, query = request["mailto"].partition("?")
    assert head == f"mailto:{ADDRESS}"
    assert request["mailto"].isascii()
    assert " " not in request["mailto"]
    fields = dict(field.split("=", 1) for field in query.split("&"))
    told = {name.lower(): unquote(value).replace("\r\n", "\n").rstrip() for name, value in fields.items()}
    assert told == {name: request[name].rstrip() for name in ("subject", "body")}


def test_forget_deletes_what_is_of_this_id_and_no_other(home, collector, tmp_path):
    """In every stage of every host mine go and those of others stay, to be delivered once.

    A file without mine stays byte for byte. Events that were in one segment with mine are in bodies.
    """
    furnish(home, collector)
    bodies = [
        *homes.telemetry(home).glob("*/outbox/*/*.json"),
        *homes.telemetry(home).glob("*/rejected/*.json"),
    ]
    theirs = {str(path): path.read_bytes() for path in bodies if MINE.encode() not in path.read_bytes()}
    reasons = [path.with_suffix(".reason.txt") for path in bodies if path.parent.name == "rejected"]
    kept = {str(path) for path in reasons if str(path.with_suffix("").with_suffix(".json")) in theirs}
    assert (len(theirs), len(reasons), len(kept)) == (3, 4, 2)
    waiting = [unsent_of(home, OTHER, host) for host in (None, "node-7")]
    assert [each.total() for each in waiting] == [9, 4]
    archived = others(lines_of_archives(home))
    sealed = homes.spool(home) / "sealed-1700000000000000000-abcd.msgpack"
    whole = sealed.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    answer = answer_of(elsewhere, "forget", "--yes", "--home", str(home))
    assert answer.keys() == {"source", "deleted", "request"}
    assert answer["source"] == MINE
    assert answer["deleted"] == {"spool": 3 + 2 + 3, "outbox": 3, "sent": 6, "rejected": 2}
    assert_request(answer["request"])
    assert not (home / "source").exists()
    assert forgotten(home) == [EARLIER, hash_of(MINE)]
    assert carriers(home, MINE) == []
    assert not elsewhere.exists()
    assert [path.read_bytes() for path in bodies if path.exists()] == list(theirs.values())
    assert {str(path) for path in reasons if path.exists()} == kept
    assert [unsent_of(home, OTHER, host) for host in (None, "node-7")] == waiting
    assert lines_of_archives(home) == archived
    assert sealed.read_bytes() == whole
    # Then others' events are delivered, once each, and nothing that a slow process still brings of mine.
    homes.put(home, of(MINE, 90, 2), name="sealed-1800000000000000000-abcd.msgpack")
    for path in homes.telemetry(home).glob("node-7/spool/*"):
        homes.age(path, 3600)
    homes.age(homes.host(home, "node-7") / "spool", 3600)
    requests = len(collector.requests)
    collector.answer_by(lambda _request: 200)
    processes.deliver(home, times=5)
    new = collector.requests[requests:]
    assert not [request for request in new if MINE.encode() in request.body]
    events = wire.expand_all({request.key: request.body for request in new}.values())
    assert wire.serials(events) == [23, 24, 25, 33, 34, 35, 36, 40, 41, 53, 54, 55, 56]
    assert homes.unsent_files(home) == []
    assert carriers(home, MINE) == []


def test_forget_finds_what_died_half_done(home, collector):
    """Amid damage, in a dead sidecar's work and in a torn line of the archive: mine goes, others' stays."""
    homes.put(home, of(OTHER, 0, 1))
    processes.deliver(home)
    (archive,) = homes.host(home).glob("sent/????-??-??.jsonl")
    theirs = archive.read_bytes()
    archive.write_bytes(theirs + theirs.replace(OTHER.encode(), MINE.encode())[:-40])
    mine, other = (b"".join(map(records.encode, of(source, 2, 2))) for source in (MINE, OTHER))
    homes.put_bytes(home, mine + b"rubbish" + other + mine[:-10])
    work = homes.host(home) / "work" / "1700000000000000000-abcd.dead"
    work.mkdir(mode=0o700, parents=True)
    segment = b"".join(map(records.encode, [*of(OTHER, 4, 2), *of(MINE, 6, 2)]))
    (work / "sealed-1700000000000000000-abcd.msgpack").write_bytes(segment)
    (home / "source").write_text(MINE)
    ran(home, "forget", "--yes")
    processes.deliver(home)
    assert wire.serials(collector.events()) == [0, 2, 3, 4, 5]
    assert {event["context"]["source"] for event in collector.events()} == {OTHER}
    assert carriers(home, MINE) == []
    assert homes.sent(home)[0] == theirs.rstrip()


def test_what_was_forgotten_on_another_host_is_deleted_not_sent(home, collector):
    """That host noted the hash while bodies and segments waited here."""
    collector.answer_by(lambda _request: 503)
    homes.put(home, [*of(MINE, 0, 2), *of(OTHER, 2, 2)])
    processes.once(home)
    homes.put(home, mixed(start=30))
    (homes.telemetry(home) / "forgotten").write_text(hash_of(MINE))
    requests = len(collector.requests)
    collector.answer_by(lambda _request: 200)
    processes.deliver(home, times=5)
    assert {event["context"]["source"] for event in collector.events()} == {OTHER}
    assert [request for request in collector.requests[requests:] if MINE.encode() in request.body] == []
    assert homes.unsent_files(home) == []


def test_forget_prints_a_letter(home):
    """Without --json it is a letter to be sent; telemetry may be off; the next event starts a new ID."""
    homes.write_settings(home, "bursts = true\n")
    (home / "source").write_text(MINE)
    done = ran(home, "forget", "--yes", env={"FLWR_TELEMETRY_ENABLED": "0", "COLUMNS": "60"})
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.strip().startswith("To:") and ADDRESS in line]
    assert [line for line in lines if line.strip().startswith("Subject:")]
    assert [line for line in lines if MINE in line and "mailto:" not in line]
    (link,) = [line for line in lines if line.startswith("mailto:")]
    assert link.startswith(f"mailto:{ADDRESS}?")
    assert MINE in unquote(link)
    assert "\x1b" not in done.stdout
    assert set(homes.tree(home)) == {"telemetry", "telemetry/config.toml", "telemetry/forgotten"}
    assert forgotten(home) == [hash_of(MINE)]
    processes.spool_events(home)
    assert source_of(home) != MINE
    assert uuid.UUID(source_of(home)).version == 4
    assert {event["context"]["source"] for event in homes.spooled(home)} == {source_of(home)}


def test_forget_asks_first(home):
    """Without a terminal it ends with 2; the answer no changes nothing; the answer yes forgets."""
    processes.spool_events(home, 2)
    source = source_of(home)
    before = homes.contents(home)
    assert command(home, "forget").returncode == 2
    assert command(home, "forget", "--json", input="y\n", stdin=None).returncode == 2
    assert homes.contents(home) == before
    for word in ("n", "y"):
        ours, theirs = os.openpty()
        try:
            os.write(ours, f"{word}\n".encode())
            done = command(home, "forget", stdin=theirs)
        finally:
            os.close(ours)
            os.close(theirs)
        if word == "n":
            assert homes.contents(home) == before
    assert done.returncode == 0, done.stderr
    assert carriers(home, source) == []
    assert forgotten(home) == [hash_of(source)]


@pytest.mark.parametrize("furnished", [False, True], ids=["no home", "no source"])
def test_without_an_id_there_is_nothing_to_forget(home, furnished):
    """The command succeeds and writes nothing, and the events of others stay in the spool."""
    if furnished:
        homes.put(home, of(OTHER, 0, 2))
    tree, before = homes.tree(home.parent), homes.contents(home)
    answer = answer_of(home, "forget", "--yes")
    assert (answer["source"], answer["request"]) == (None, None)
    assert set(answer["deleted"].values()) == {0}
    assert command(home, "forget", "--yes").returncode == 0
    assert (homes.tree(home.parent), homes.contents(home)) == (tree, before)


def test_forget_reaches_whoever_runs(home, collector):
    """A workload goes on under a new ID, and its sidecar delivers nothing of the old one any more."""
    homes.configure(home, collector.url, idle_exit_s=600)
    collector.answer_by(lambda _request: 503)

    def sent_of(source):
        return [request for request in collector.requests if source.encode() in request.body]

    with processes.reporter(home) as report:

        def emit():
            assert report() == "spooled"

        def reported_anew():
            emit()
            return (home / "source").exists()

        emit()
        processes.wait_until(lambda: homes.waiting(home))
        emit()
        old = source_of(home)
        answer = answer_of(home, "forget", "--yes")
        assert answer["source"] == old
        assert answer["deleted"]["spool"] + answer["deleted"]["outbox"] >= 1, answer
        collector.answer_by(lambda request: 503 if old.encode() in request.body else 200)
        before = len(sent_of(old))
        processes.wait_until(reported_anew)
        new = source_of(home)
        processes.wait_until(lambda: emit() or new in str(collector.accepted))
        assert new != old
    assert command(home, "flush", "--timeout", "50").returncode == 0
    assert {event["context"]["source"] for event in collector.events()} == {new}
    assert len(sent_of(old)) <= before + 1  # the one that was in flight
    assert carriers(home, old) == []
    assert forgotten(home) == [hash_of(old)]


def told_of(home, **env):
    answer = answer_of(home, "source", env=env)
    assert answer.keys() == {"source", "path", "since", "forgotten"}
    return answer


def test_source_shows_the_id_and_creates_none(home, tmp_path):
    """Null before the first event, then the ID with its date; `--home` names another; off or on."""
    answer = told_of(home)
    assert answer == {"source": None, "path": str(home / "source"), "since": None, "forgotten": False}
    assert command(home, "source").returncode == 0
    assert homes.tree(home.parent) == []
    processes.spool_events(home)
    before = homes.contents(home)
    answer = told_of(home, FLWR_TELEMETRY_ENABLED="0")
    assert (answer["source"], answer["forgotten"]) == (source_of(home), False)
    assert datetime.fromisoformat(answer["since"])
    done = ran(tmp_path / "elsewhere", "source", "--home", str(home))
    assert source_of(home) in done.stdout
    assert homes.contents(home) == before
    assert not (tmp_path / "elsewhere").exists()


def test_source_tells_what_is_amiss(home):
    """An ID that was forgotten, content that is none, and what cannot be read are told, not mended."""
    homes.write_settings(home, "")
    (home / "source").write_text(MINE)
    (homes.telemetry(home) / "forgotten").write_text(f"{EARLIER}\n{hash_of(MINE)}\n")
    assert (told_of(home)["source"], told_of(home)["forgotten"]) == (MINE, True)
    (home / "source").write_text("nonsense")
    assert (told_of(home)["source"], told_of(home)["forgotten"]) == ("invalid", False)
    assert (home / "source").read_text() == "nonsense"
    (home / "source").unlink()
    (home / "source").symlink_to("source")
    assert told_of(home)["source"] == "unavailable"
    assert (home / "source").is_symlink()


def test_an_id_is_forgotten_by_name_in_any_spelling(home):
    """An ID of before, then the present one; nonsense is wrong usage."""
    homes.configure(home)
    (home / "source").write_text(MINE)
    for source, count, is_left in ((OTHER, 2, True), (MINE, 3, False)):
        homes.put(home, of(source, 0, count))
        told = answer_of(home, "forget", "--yes", f"{{{source.upper().replace('-', '')}}}")
        assert (told["source"], told["deleted"]["spool"]) == (source, count)
        assert (home / "source").exists() is is_left
    assert command(home, "forget", "--yes", "nonsense").returncode == 2
