"""The page of `flwr-telemetry view`, and that of the collector's report, in a real browser.

Each makes one request and no message, and is readable by everybody.

CI installs Debian's chromium, and `playwright-core` and `axe-core` from npm into `build/browser`. Pictures of
the page are left in `build/`.
"""

import json
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from flwr_telemetry.record import to_wire
from tests.support import homes, processes, readme, records
from tests.support.commands import ran
from tests.support.receiving import ran as ran_collector

BUILD = readme.ROOT / "build"
MODULES = BUILD / "browser" / "node_modules"
PATIENCE_S = 300

pytestmark = [pytest.mark.heavy, pytest.mark.long]


def looked_at(page):
    """What a browser sees."""
    absent = [name for name in ("chromium", "node") if not shutil.which(name)]
    absent += [name for name in ("playwright-core", "axe-core") if not (MODULES / name).is_dir()]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    script = Path(__file__).with_name("browser.mjs")
    command = ["node", script, MODULES, shutil.which("chromium"), page, BUILD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def workload(number, *, cluster, ends=True, success=True, **fields):
    begin_us = 1_795_000_000_000_000 + number * 1_000_000
    kinds = [("ENTER", 0), ("LEAVE", 60_000_000)][: 1 + ends]
    return [
        records.sample(
            {"success": success},
            event_type=f"PYTHON_API_RUN_SIMULATION_{kind}",
            cluster=cluster,
            date_us=begin_us + us,
            **fields,
        )
        for kind, us in kinds
    ]


def furnished(home, collector):
    """Three workloads at once that were sent, one that was refused, one that waits, and one that attacks."""
    homes.configure(home, collector.url)
    collector.answer_by(lambda request: 422 if b"REFUSED" in request.body else 200)
    events = [event for n in range(3) for event in workload(n, cluster=f"{n}" * 36, success=n != 1)]
    homes.put(home, [*events, records.sample({}, event_type="REFUSED", cluster="3" * 36)])
    processes.deliver(home)
    evil = "</code></pre></title><script>console.log('run')</script><img src=https://x.example/>\u202e"
    homes.put(
        home, [*workload(70, cluster="4" * 36, ends=False), records.sample({"x": evil * 9}, cluster=evil)]
    )


@pytest.mark.parametrize("is_furnished", [True, False], ids=["furnished", "empty"])
def test_in_a_browser(home, collector, tmp_path, is_furnished):
    name = "view" if is_furnished else "view-empty"
    if is_furnished:
        furnished(home, collector)
    page = tmp_path / f"{name}.html"
    ran(home, "view", "-o", str(page))
    found = looked_at(page)
    assert found["requests"] == [page.as_uri()] * 3
    assert found["console"] == []
    assert found["violations"] == []
    assert found["scripts"] == 0
    assert {width: most for width, most in found["overflow"].items() if most > 0} == {}
    totals = json.loads(ran(home, "status", "--json").stdout)["totals"]
    assert found["numbers"] == {
        f"{stage}-{unit}": str(totals[stage][unit]) if unit in totals[stage] else "-"
        for stage in ("spool", "outbox", "sent", "rejected")
        for unit in ("events", "bodies", "bytes")
    }
    stored = ran(home, "inspect", "--json").stdout.splitlines()
    assert sorted(found["bodies"]) == sorted(stored)
    assert len(found["lanes"]) == (6 if is_furnished else 0)


def test_the_collectors_report_in_a_browser(tmp_path):
    """Enough sources of several versions on several days, some that failed, and one that attacks."""
    pytest.importorskip("sqlalchemy")
    from flwr_telemetry_collector import intake
    from flwr_telemetry_collector.database import Database
    from flwr_telemetry_collector.store import Store
    from flwr_telemetry_collector.writer import today

    database, page = tmp_path / "flwr.db", tmp_path / "report.html"
    opened, store = Database(str(database)), Store()
    evil = "</text></svg><script>console.log('run')</script>"
    parcels = [
        intake.parcel(json.dumps(to_wire(event)).encode(), None)
        for number in range(60)
        for source in [str(uuid.uuid4())]
        for event in workload(
            number % 9,
            cluster=str(uuid.uuid4()),
            ends=number % 5 > 0,
            success=number % 3 > 0,
            source=source,
            flower={"package_name": "flwr", "package_version": f"1.{30 + number % 11}.0"},
            platform={
                "system": evil if number == 7 else "Linux",
                "machine": evil,
                "python_version": "3.12.1",
            },
        )
    ]
    for number, parcel in enumerate(parcels):
        with opened.writing() as connection:
            store.add(connection, [parcel], today() - number % 20)
    opened.close()
    ran_collector("report", "--db", database, "--html", page)
    found = looked_at(page)
    assert found["requests"] == [page.as_uri()] * 3
    assert (found["console"], found["violations"], found["scripts"]) == ([], [], 0)
    assert {width: most for width, most in found["overflow"].items() if most > 0} == {}
