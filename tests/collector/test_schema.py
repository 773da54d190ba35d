"""The tables: made once, whoever comes first, and as the README partitions them. The files for operators."""

import contextlib
import re
import shutil
import sqlite3
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from flwr_telemetry.record import to_wire
from flwr_telemetry_collector.__main__ import _parser
from flwr_telemetry_collector.database import Database
from flwr_telemetry_collector.errors import CollectorError
from flwr_telemetry_collector.schema import TABLES
from tests.support import readme, records, wire
from tests.support.bodies import coalesce
from tests.support.receiving import Serving, ran

SYSTEMD = readme.ROOT / "systemd"


def test_many_open_a_new_database_at_once(database):
    with ThreadPoolExecutor(4) as pool:
        for opened in pool.map(Database, [database] * 4):
            opened.close()


def test_a_newer_database_is_left_alone(tmp_path):
    database = str(tmp_path / "flwr.db")
    Database(database).close()
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE collector_version SET version = 99")
    with pytest.raises(CollectorError, match="version 99"):
        Database(database)


def _block(page, name):
    return re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1]


def _columns(postgres, name):
    query = (
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public'"
    )
    return {row for row in postgres.sql(query, name) if row[0] in TABLES.tables}


@pytest.mark.heavy
@pytest.mark.long
@pytest.mark.parametrize("by_day", [False, True], ids=["hash", "day"])
def test_the_partitions_of_the_readme(postgres, tmp_path, by_day):
    """The same columns as without, and the same answers; also with the partitions parted by day once more."""
    plain, parted = postgres.new_database(), postgres.new_database()
    Database(plain).close()
    names = [re.search(r"made_\d+", address)[0] for address in (plain, parted)]
    statements = _block(readme.DAEMON, "partitions")
    if by_day:
        statements = statements.replace("UNIQUE (source, key)", "UNIQUE (source, key, day)")
        statements = re.sub(r"(PRIMARY KEY \(source, [^)]*)\)", r"\1, day)", statements)
        statements = re.sub(
            r"CREATE TABLE (\w+_\d) (PARTITION OF .*);",
            r"CREATE TABLE \1 \2 PARTITION BY RANGE (day); "
            r"CREATE TABLE \1_old PARTITION OF \1 FOR VALUES FROM (0) TO (20000); "
            r"CREATE TABLE \1_new PARTITION OF \1 FOR VALUES FROM (20000) TO (90000);",
            statements,
        )
    for statement in statements.split(";\n"):
        if statement.strip():
            postgres.sql(statement, names[1])
    with Serving(parted, tmp_path) as running:
        series = (records.series(3 + n, source=str(uuid.uuid4())) for n in range(8))
        events = [to_wire(event) for one in series for event in one]
        bodies = list(coalesce(events))
        for body in (*bodies, *bodies, *coalesce(events[::2])):
            assert running.post(body).status_code == 201
        assert wire.bag(running.events()) == wire.bag(events)
        assert "PING" in ran("report", "--db", parted).stdout
        gone = events[0]["context"]["source"]
        assert running.ask("DELETE", f"/api/v1/source/{gone}").status_code == 204
        left = [event for event in events if event["context"]["source"] != gone]
        assert wire.bag(running.events()) == wire.bag(left)
    assert _columns(postgres, names[1]) == _columns(postgres, names[0])
    assert postgres.sql("SELECT count(*) FROM body_0", names[1])[0][0] < len(bodies)


def _ends_in_serve(words):
    assert words[0] == "flwr-telemetry-collector"
    return _parser().parse_args(words[1:]).drain


def test_the_compose_file():
    """Its command line is valid, and it gives the drain its time."""
    found = yaml.safe_load(_block(SYSTEMD / "README.md", "collector-compose"))["services"]
    assert _ends_in_serve(found["collector"]["command"]) < 20
    assert found["collector"]["stop_grace_period"] == "20s"


def test_the_unit():
    """Its command line is valid; where systemd is, it finds no fault, and little exposed."""
    unit = SYSTEMD / "flwr-telemetry-collector.service"
    text = unit.read_text(encoding="utf-8")
    (line,) = re.findall(r"^ExecStart=/usr/bin/env (.*)$", text, re.MULTILINE)
    assert _ends_in_serve(line.split()) < int(re.search(r"TimeoutStopSec=(\d+)", text)[1])
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd is installed")

    def analyze(*words):
        return subprocess.run(["systemd-analyze", *words, unit], capture_output=True, text=True, check=False)

    assert unit.name not in analyze("verify", "--man=no").stderr
    rated = analyze("security", "--offline=true", "--no-pager").stdout
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated)
    if exposure is None:
        pytest.skip("this systemd-analyze rates no file")
    assert float(exposure[1]) <= 1.5
