"""``report``: the answers, and that no figure of few sources can be found out."""

import json
import random
import re
import sys
import uuid

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetry_collector import intake, page, questions
from flwr_telemetry_collector.__main__ import main
from flwr_telemetry_collector.database import Database
from flwr_telemetry_collector.store import Store
from flwr_telemetry_collector.writer import today
from tests.support import records
from tests.support.receiving import ran

NOW_US = 1_795_000_000_000_000
EVIL = "</text></svg><script>alert(1)</script>"


@pytest.fixture
def filled(database):
    """Give what adds events as if they had been received so many days ago, and reads the report."""
    opened = Database(database)

    class Filled:
        address = database

        @staticmethod
        def add(events, days_ago=0):
            parcels = [intake.parcel(json.dumps(event).encode(), None) for event in events]
            with opened.writing() as connection:
                Store().add(connection, parcels, today() - days_ago)

        @staticmethod
        def report(days=10**4):
            with opened.reading() as connection:
                return questions.read(connection, today() - days)

    yield Filled
    opened.close()


def sources(count):
    return [str(uuid.uuid4()) for _ in range(count)]


def event(source, kind="PING", details=None, at_s=0, cluster=None, version="1.42.0", **platform):
    date_us = NOW_US + int(at_s * 1e6)
    one = records.sample(details, event_type=kind, source=source, cluster=cluster, date_us=date_us)
    one["context"]["flower"] = {"package_name": "flwr", "package_version": version}
    one["context"]["platform"].update(platform)
    return to_wire(one)


def table(report, name):
    (answer,) = [answer for answer in report.answers if answer.name == name]
    return {row.label: row.cells for row in answer.rows}


def column(report, name):
    return {label: cells[0] for label, cells in table(report, name).items()}


def test_where_flower_runs(filled):
    """Machines of two names are one; a value that may be anything is never told."""
    linux, macs, few = sources(12), sources(8), sources(3)
    filled.add(
        [
            *(event(one, version="1.42.1", python_version="3.12.1") for one in linux),
            *(event(one, system="Darwin", machine="arm64", version="1.41.0") for one in macs[:4]),
            *(event(one, system="Darwin", machine="aarch64", version="1.41.0.dev3+mine") for one in macs[4:]),
            *(event(one, system=EVIL, machine=EVIL, version=EVIL, python_version=EVIL) for one in few),
        ]
    )
    report = filled.report()
    assert (report.sources, report.events) == (25, 20)
    assert column(report, "systems") == {"Linux, x86_64": 10, "macOS, arm64": 10, "other, other": "< 5"}
    assert column(report, "pythons") == {"3.11": 10, "3.12": 10, "other": "< 5"}
    assert column(report, "processors") == {"5 to 8": 25}
    assert column(report, "memory") == {"unknown": 25}
    assert column(report, "modes") == {"PING": 25}
    assert column(report, "versions") == {"1.41": 10, "1.42": 10, "other": "< 5"}
    assert EVIL not in page.render(report).decode() + page.as_text(report) + json.dumps(report.public())


def test_versions_over_time(filled):
    """A column is a day, or more for a longer time."""
    old, new = sources(10), sources(15)
    filled.add([event(one, version="1.41.0") for one in old], days_ago=9)
    filled.add([event(one) for one in new])
    rows = table(filled.report(days=9), "versions")
    assert rows == {"1.41": (10, *["< 5"] * 9), "1.42": (*["< 5"] * 9, 15)}
    assert table(filled.report(days=3), "versions") == {"1.42": (15,) * 1}
    filled.add([event(one, version="1.40.0") for one in old], days_ago=120)
    (versions,) = [answer for answer in filled.report().answers if answer.name == "versions"]
    assert len(versions.columns) <= 31
    assert sorted(cell for row in versions.rows for cell in row.cells if cell != "< 5") == [10, 10, 15]


def test_completion(filled):
    """Of ten that started, seven ended; a LEAVE of another workload does not help."""
    for version, ended in (("1.42.0", 7), ("1.41.0", 9)):
        for number, source in enumerate(sources(10)):
            cluster = str(uuid.uuid4())
            started = event(source, "RUN_SUPERNODE_ENTER", cluster=cluster, version=version)
            theirs = cluster if number < ended else None
            left = event(source, "RUN_SUPERNODE_LEAVE", cluster=theirs, at_s=60, version=version)
            filled.add([started, left])
    filled.add([event(one, "RUN_SUPERLINK_ENTER") for one in sources(4)])
    rows = table(filled.report(), "completion")
    assert rows == {"RUN_SUPERNODE": (80, 90, 70), "other": ("< 5",) * 3}


def test_recurring_or_concurrent(filled):
    """Six sources fail once and alone, seven again and again among four workloads at once."""
    for source in sources(6):
        filled.add([event(source, "START_SERVER_LEAVE", {"success": False})])
    for source in sources(7):
        for number in range(4):
            cluster = str(uuid.uuid4())
            ends = {"success": number > 1} if number % 2 else {"exit_code": 101 if number == 0 else 0}
            entered = event(source, "START_SERVER_ENTER", cluster=cluster)
            filled.add([entered, event(source, "START_SERVER_LEAVE", ends, cluster=cluster, at_s=60)])
    answers = table(filled.report(), "failures")
    assert answers == {"failed once": (5, *["< 5"] * 3), "failed again": ("< 5", "< 5", 5, "< 5")}


@pytest.mark.parametrize("seed", range(5))
def test_no_two_figures_give_a_small_one_away(filled, seed):
    """Every figure is a multiple of five, so every difference of two is: none is the size of a small cell."""
    chance = random.Random(seed)
    events = [
        event(
            source,
            chance.choice(["PING", "START_SERVER_ENTER", "START_SERVER_LEAVE"]),
            {"success": chance.random() < 0.5},
            version=chance.choice(["1.42.0", "1.41.0", "1.40.0", "x"]),
            system=chance.choice(["Linux", "Linux", "Linux", "Windows"]),
            python_version=f"3.{chance.randint(11, 14)}.0",
        )
        for source in sources(chance.randint(1, 40))
        for _ in range(chance.randint(1, 3))
    ]
    filled.add(events)
    public = filled.report().public()
    counted = [answer for answer in public["answers"] if answer["unit"] != "percent"]
    cells = [cell for answer in counted for row in answer["rows"] for cell in row["cells"]]
    assert {cell if cell == "< 5" else cell % 5 for cell in (public["sources"], *cells)} <= {"< 5", 0}


@pytest.mark.parametrize("count", [0, 3, 12])
def test_the_page(filled, count):
    """One file without script, style attribute or address; an SVG for each question that has an answer."""
    filled.add([event(one) for one in sources(count)] or [event("x")])
    text = page.render(filled.report()).decode()
    assert not re.search(r"<(script|link|img|iframe|object)\b|\b(style|src|href|onclick)=|https?://", text)
    assert text.count("<section") == 8
    assert ("<svg" in text) == (count >= 5)
    assert "default-src 'none'" in page.policy()
    assert f'content="{page.policy()}"' in text
    if count < 5:
        assert not re.search(r">\s*[1-4]\s*<", text)


def test_the_commands(filled, tmp_path, monkeypatch, capsys):
    """Text for people, JSON for programs, a page, and every event again."""
    sent = [event(one, at_s=number) for number, one in enumerate(sources(6))]
    filled.add(sent)
    filled.add([event(one) for one in sources(5)], days_ago=50)

    def printed(*arguments):
        monkeypatch.setattr(sys, "argv", ["", *map(str, arguments), "--db", filled.address])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    told = printed("report")
    assert "In which mode does Flower start?\n  PING" in told
    answer = json.loads(printed("report", "--since", "4w", "--json"))
    assert (answer["sources"], answer["smallest"]) == (5, 5)
    file = tmp_path / "report.html"
    assert printed("report", "--html", file) == ""
    assert file.read_bytes().startswith(b"<!DOCTYPE html>")
    lines = ran("export", "--jsonl", "--since", "30d", "--db", filled.address).stdout.splitlines()
    assert [json.loads(line) for line in lines] == sent
