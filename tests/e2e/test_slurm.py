"""A real Slurm: jobs only write, leave no process of ours behind, and every event is delivered once."""

import sys
from pathlib import Path

import pytest

from tests.support import homes, slurm, wire
from tests.support.collector import Collector
from tests.support.processes import wait_until
from tests.support.slurm import LOGIN, NODE, Cluster

pytestmark = pytest.mark.skipif(slurm.why_not() is not None, reason=str(slurm.why_not()))

TASKS, EVENTS = 20, 5
CUT, AFTER, ALWAYS, END = 100_000, 200_000, 300_000, 400_000  # the first numbers of a job without end

# Arguments: the first number, and how many events; 0 is without end. A file lists the events that were
# reported as spooled, also after SIGTERM.
EMIT = """
import itertools, os, signal, sys, time
from flwr_telemetry import event

signal.signal(signal.SIGTERM, signal.SIG_IGN)
first, count = int(sys.argv[1]) + 10 * int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")), int(sys.argv[2])
with open(f"said-{first}", "w") as said:
    for n in range(first, first + count) if count else itertools.count(first):
        assert event("PING", {"n": n}).result() == "spooled"
        said.write(f"{n}\\n")
        said.flush()
        time.sleep(0.002)
"""


class Table:
    """The events that were reported as spooled, and those that arrived, by job."""

    def __init__(self, cluster, collector):
        self._cluster = cluster
        self._collector = collector
        self.rows = ["what                              tasks  written  delivered  processes left"]

    def written(self, start, stop):
        """The numbers in a range that emitters noted."""
        found = [path.read_text().split() for path in self._cluster.home.glob("said-*")]
        return sorted(n for numbers in found for n in map(int, numbers) if start <= n < stop)

    def delivered(self, start, stop):
        """The numbers in a range that arrived, without duplicates of a key."""
        return [n for n in wire.serials(self._collector.events()) if start <= n < stop]

    def complete(self, what, tasks, start, stop, left, *, cut=0):
        """Compare the arrived events with the written ones, of which ``cut`` may lack a note; add a row."""
        written = self.written(start, stop)
        assert written
        wait_until(lambda: set(self.delivered(start, stop)) >= set(written), what="every event")
        wait_until(lambda: not homes.unsent_files(self._cluster.home / ".flwr"), what="an empty home")
        delivered = self.delivered(start, stop)
        assert len(delivered) == len(set(delivered))
        assert len(set(delivered) - set(written)) <= cut
        self.rows.append(f"{what:<32}{tasks:>7}{len(written):>9}{len(delivered):>11}{len(left):>16}")


def _configure(cluster, url, **settings):
    home = cluster.home / ".flwr"
    homes.configure(home, url, **{"adopt_after_s": 0.5, **settings})
    cluster.give(home)


def _job(cluster, first, count, **options):
    return cluster.submit(f"exec {sys.executable} -P emit.py {first} {count}", **options)


@pytest.mark.long
def test_each_event_of_each_job_is_delivered_once_and_no_process_is_left(tmp_path, record_property):
    """An array, cancelled jobs, a job with a sidecar; on the login node a sidecar on demand, a service."""
    tmp_path.chmod(0o755)
    with Cluster(tmp_path) as cluster, Collector(cluster.socket()) as collector:
        table = Table(cluster, collector)
        (cluster.home / "emit.py").write_text(EMIT, encoding="utf-8")
        _configure(cluster, collector.url)
        telemetry = homes.telemetry(cluster.home / ".flwr")

        # The array only writes; a cancelled job leaves its events.
        array = _job(cluster, 0, EVENTS, array=f"1-{TASKS}")
        cut = _job(cluster, CUT, 0)
        wait_until(lambda: len(table.written(CUT, AFTER)) > 50, what="events of the job")
        cluster.slurm("scancel", cut)
        for job in (array, cut):
            cluster.wait_for(job)
        left = cluster.processes_left()
        assert left == []
        assert sorted(path.name for path in (telemetry / NODE).iterdir()) == ["spool"]
        assert collector.requests == []
        assert len(table.written(0, CUT)) == TASKS * EVENTS

        # The next event outside a job starts a sidecar there, which adopts the node's spool.
        words = cluster.on_login_node(sys.executable, "-P", "emit.py", str(AFTER), "1")
        assert cluster.run(words, user="root").returncode == 0
        wait_until((telemetry / LOGIN / "sidecar.json").exists, what="a sidecar on the login node")
        table.complete("array, on-demand sidecar after", TASKS, 0, CUT, left)
        table.complete("cancelled, the same sidecar", 1, CUT, AFTER, left, cut=1)
        wait_until(lambda: cluster.users_processes() == [], what="the end of the idle sidecar")

        # A sidecar that a job starts ends with it, also during a request.
        collector.answer_by(lambda _request: "hang")
        always = _job(cluster, ALWAYS, 0, env={"FLWR_TELEMETRY_SIDECAR": "always"})
        asked = len(collector.requests)
        wait_until(lambda: len(collector.requests) > asked, what="a sidecar in the job")
        assert any("flwr-telemetryd" in line for line in cluster.users_processes())
        cluster.slurm("scancel", always)
        cluster.wait_for(always)
        if not slurm.has_control_groups():  # then Slurm does not find processes that left their parents
            cluster.run(["pkill", "-KILL", "-u", cluster.user, "-f", "flwr_telemetryd"], user="root")
        left = cluster.processes_left()
        assert left == []
        collector.answer_by(lambda _request: 200)

        # A service on the login node delivers the rest.
        service = cluster.on_login_node(sys.executable, "-P", "-m", "flwr_telemetryd", "--service")
        cluster.start("service", service, user="root")
        table.complete("cancelled with its own sidecar", 1, ALWAYS, END, left, cut=1)
        assert len(collector.accepted) == len({wire.key_of(body) for body in collector.accepted.values()})
    record_property("table", "\n".join(table.rows))


@pytest.mark.long
def test_the_epilog_delivers_and_never_drains_the_node(tmp_path, record_property):
    """It runs as the job's user within its time limit, also with a collector that never answers."""
    tmp_path.chmod(0o755)
    shipped = (Path(__file__).parents[2] / "systemd" / "slurm-epilog.sh").read_text(encoding="utf-8")
    command = Path(sys.executable).with_name("flwr-telemetryd")
    epilog = tmp_path / "epilog.sh"
    text = shipped.replace("/usr/local/bin/flwr-telemetryd", str(command))
    epilog.write_text(text.replace("LIMIT_S=15", "LIMIT_S=50"))
    epilog.chmod(0o755)
    with Cluster(tmp_path) as cluster, Collector(cluster.socket()) as collector:
        table = Table(cluster, collector)
        (cluster.home / "emit.py").write_text(EMIT, encoding="utf-8")
        cluster.set_epilog(epilog)

        # It makes no home for a user without events.
        cluster.wait_for(cluster.submit("true"))
        assert not (cluster.home / ".flwr").exists()

        # With a collector that never answers, it ends at the limit, and no event is lost.
        _configure(cluster, collector.url, request_deadline_s=600)
        epilog.write_text(text.replace("LIMIT_S=15", "LIMIT_S=8"))
        collector.answer_by(lambda _request: "hang")
        cluster.wait_for(_job(cluster, 10, EVENTS))
        assert len(collector.requests) == 1
        assert cluster.processes_left() == []
        epilog.write_text(text.replace("LIMIT_S=15", "LIMIT_S=50"))
        collector.answer_by(lambda _request: 200)
        cluster.wait_for(_job(cluster, 20, EVENTS, array="1-4"))
        left = cluster.processes_left()
        assert left == []
        table.complete("each job, the epilog after it", 5, 0, 100, left)
        assert {path.stat().st_uid for path in (cluster.home / ".flwr").rglob("*")} == {
            cluster.home.stat().st_uid
        }

        # It succeeds also without a job, and for users without a home.
        for environment in ({}, {"SLURM_JOB_USER": "root"}, {"SLURM_JOB_USER": "nobody at all"}):
            assert cluster.run([str(epilog)], user="root", env=environment).returncode == 0
        epilog.write_text(shipped)
        assert cluster.run([str(epilog)], user="root", env={"SLURM_JOB_USER": cluster.user}).returncode == 0
        assert "State=IDLE" in cluster.scontrol("show", "node", NODE)
    record_property("table", "\n".join(table.rows))
