"""`flwr-telemetry demo`: every event arrives, and no file or process is left."""

import json
import re
import signal
import subprocess

from flwr_telemetryd.admin.demo.collector import is_installed
from tests.support import homes, processes, wire
from tests.support.processes import command


def _temporary(tmp_path):
    temporary = tmp_path / "t"
    temporary.mkdir()
    return temporary


def test_it_shows_a_body_in_full(home, tmp_path):
    done = command(home, "demo", "--workloads", "2", env={"TMPDIR": str(_temporary(tmp_path))})
    assert done.returncode == 0, done.stderr
    told = (
        '"num-supernodes": 10',
        "2 workloads wrote 4 events; 4 arrived",
        "Flower itself",
        "4 events became",
    )
    assert all(words in done.stdout for words in told)
    if is_installed():
        _, _, report = done.stdout.partition("The report of the collector that received them:\n")
        assert report.splitlines()[0].endswith(": < 5 sources.")
        assert "Which devices complete what they start?" in report
    assert re.search(r"^Running    [·▁▂▃▄▅▆▇█]{48}  over time$", done.stdout, re.MULTILINE)


def test_nothing_around_it_can_disturb_it(home, tmp_path):
    """It works with telemetry off, in a batch job, behind a proxy, and with settings that are not TOML."""
    homes.write_settings(home, "nonsense")
    before = homes.tree(home.parent)
    temporary = _temporary(tmp_path)
    surroundings = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_TELEMETRY_SIDECAR": "never", "DO_NOT_TRACK": "1"}
    surroundings |= {"SLURM_JOB_ID": "7", "TMPDIR": str(temporary)}
    surroundings |= dict.fromkeys(("http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    done = command(home, "demo", "--workloads", "3", "--json", env=surroundings)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["workloads"], told["events_written"], told["events_received"]) == (3, 6, 6)
    assert told["complete"]
    assert told["requests"] < told["flower_requests"] == 6
    assert 0 < told["request_bytes"] < told["flower_bytes"]
    assert {event["event_details"]["run-id-hash"] for event in wire.expand(told["body"])}
    assert homes.tree(home.parent) == before
    assert list(temporary.iterdir()) == []
    assert processes.processes_of(temporary) == {}


def test_ending_it_leaves_nothing(home, tmp_path):
    temporary = _temporary(tmp_path)
    words = ["-m", "flwr_telemetryd.cli", "demo", "--workloads", "200"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    demo = processes.start(home, words, {"TMPDIR": str(temporary)}, **pipes)
    processes.wait_until(lambda: homes.find(temporary, "*/telemetry/*/sidecar.json"))
    demo.send_signal(signal.SIGTERM)
    _, said = demo.communicate(timeout=processes.PATIENCE_S)
    assert (demo.returncode, said) == (128 + signal.SIGTERM, "")
    assert list(temporary.iterdir()) == []
    assert processes.processes_of(temporary) == {}
