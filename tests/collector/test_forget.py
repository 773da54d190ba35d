"""Deletion: everything of a source goes, no byte of its ID stays, and what comes late is dropped."""

import json
import random
import sqlite3
import threading
import uuid
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from flwr_telemetry.record import to_wire
from tests.support import processes, records
from tests.support.bodies import coalesce
from tests.support.receiving import Serving, ran


def bodies_of(source, count=5):
    series = (map(to_wire, records.series(1 + 3 * n, source=source)) for n in range(count))
    return [body for events in series for body in coalesce(events)]


def traces(database, sources):
    """The IDs, as text or in 16 bytes, that stand in any file of an SQLite database."""
    path = Path(database)
    data = b"".join(one.read_bytes() for one in path.parent.glob(f"{path.name}*"))

    def has(source):
        forms = source.encode(), source.upper().encode(), uuid.UUID(source).bytes
        return any(form in data for form in forms)

    return set(filter(has, sources))


def path_of(source):
    return f"/api/v1/source/{source}"


def test_what_is_asked_for(shared):
    """The ID is the authority, in any spelling. Nobody learns whether it was known."""
    mine, other = (str(uuid.uuid4()) for _ in range(2))
    sent = bodies_of(mine)
    assert {shared.post(body).status_code for body in (*sent, *bodies_of(other))} == {201}
    for named in (mine, ""):
        assert "DELETE" in shared.ask("OPTIONS", path_of(named)).headers["Allow"]
    before = [event for event in shared.events() if event["context"]["source"] == other]
    for spelling in (mine.upper(), mine, str(uuid.uuid4())):
        answer = shared.ask("DELETE", path_of(spelling))
        assert (answer.status_code, answer.content) == (204, b"")
    late = [json.loads(sent[0])]
    late[0]["context"]["source"] = mine.upper()
    assert {shared.post(body).status_code for body in (*sent, *late)} == {201}
    left = [event for event in shared.events() if event["context"]["source"] in {mine, mine.upper(), other}]
    assert left == before
    assert shared.ask("DELETE", path_of("me")).status_code == 422


def test_no_byte_is_left(tmp_path):
    """Of many sources some go, one after the other, from pages that they share with the rest."""
    database = tmp_path / "flwr.db"
    chance = random.Random(3)
    sources = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(30)]
    with Serving(database, tmp_path) as running:
        sent = [(source, body) for source in sources for body in bodies_of(source, 3)]
        chance.shuffle(sent)
        assert {running.post(body).status_code for _, body in sent} == {201}
        gone = chance.sample(sources, 10)
        assert traces(database, gone) == set(gone)
        for source in gone:
            assert running.ask("DELETE", path_of(source)).status_code == 204
        assert traces(database, sources) == set(sources) - set(gone)
        assert running.post(next(body for source, body in sent if source == gone[0])).status_code == 201
        assert traces(database, gone) == set()
        mine = next(source for source in sources if source not in gone)
        assert "events in" in ran("forget", mine, "--db", database).stdout
        assert traces(database, [mine]) == set()
        assert {event["context"]["source"] for event in running.events()} == {*sources} - {*gone, mine}
        # The profile of a machine goes with its last source, also if a running collector still knows it.
        last = [str(uuid.uuid4()) for _ in range(2)]
        rare = [to_wire(records.sample(source=source, hw={"cpu_count": 77})) for source in last]
        assert running.post(rare[0]).status_code == 201
        ran("forget", last[0], "--db", database)
        assert running.post(rare[1]).status_code == 201
        assert rare[1] in running.events()
        assert running.stop() == 0
    assert traces(database, [*gone, mine, last[0]]) == set()


def test_a_reader_delays_the_last_trace_only(tmp_path):
    """A transaction that reads holds the log. It is emptied once that has ended."""
    database = tmp_path / "flwr.db"
    source = str(uuid.uuid4())
    with Serving(database, tmp_path) as running:
        assert {running.post(body).status_code for body in bodies_of(source)} == {201}
        reader = sqlite3.connect(database, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM body").fetchone()
        assert running.ask("DELETE", path_of(source)).status_code == 204
        assert running.events() == []
        assert traces(database, [source]) == {source}
        reader.execute("COMMIT")
        processes.wait_until(lambda: not traces(database, [source]), what="an empty log")
        reader.close()


def test_while_its_bodies_come(shared):
    """Whatever order the requests take, nothing of the source is left."""
    source = str(uuid.uuid4())
    sent = bodies_of(source, 30)
    half = threading.Event()
    answers = []

    def post():
        for number, body in enumerate(sent):
            if number == len(sent) // 2:
                half.set()
            answers.append(shared.post(body).status_code)

    thread = threading.Thread(target=post)
    thread.start()
    half.wait()
    assert shared.ask("DELETE", path_of(source)).status_code == 204
    thread.join()
    assert set(answers) == {201}
    assert [event for event in shared.events() if event["context"]["source"] == source] == []


@pytest.mark.heavy
@pytest.mark.long
def test_postgresql_keeps_no_row(postgres, tmp_path):
    """Nor a byte in the files of its tables, after the command that ``forget`` advises."""
    database = postgres.new_database()
    name = make_url(database).database
    sources = [str(uuid.uuid4()) for _ in range(20)]
    with Serving(database, tmp_path) as running:
        for source in sources:
            assert {running.post(body).status_code for body in bodies_of(source, 2)} == {201}
        for source in sources[1:10]:
            assert running.ask("DELETE", path_of(source)).status_code == 204
        told = ran("forget", sources[0], "--db", database).stdout
        assert running.post(bodies_of(sources[0], 1)[0]).status_code == 201
    advised = "VACUUM FULL source, profile, body, span"
    assert advised in told
    assert postgres.sql("SELECT count(*) FROM source", name) == [(10,)]
    for statement in (advised, "CHECKPOINT"):
        postgres.sql(statement, name)
    query = "SELECT pg_relation_filepath(oid) FROM pg_class WHERE relkind IN ('r', 'i', 't')"
    files = postgres.sql(f"{query} AND relname !~ '^pg_(?!toast)'", name)
    paths = [postgres.directory / "data" / file for (file,) in files if file]
    data = b"".join(path.read_bytes() for path in paths if path.exists())
    assert [source for source in sources if source.encode() in data] == sources[10:]
