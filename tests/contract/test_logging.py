"""Section 4, FLWR_TELEMETRY_LOGGING: every payload in Flower's own format, on or off."""

import json
import multiprocessing
import re

import pytest

from tests.support import homes, processes, wire
from tests.support.processes import NEVER, workload

_LINE = re.compile(
    r"^DEBUG flwr-telemetry \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \| "
    r"[\w.<>-]+:\d+ \| (?P<date>\S+) - POST - (?P<payload>\{.*\})$",
    re.MULTILINE,
)
_CODE = "event('PING', {'n': 1})\nevent('OTHER')\n"


def _payloads(stderr):
    found = [(match["date"], json.loads(match["payload"])) for match in _LINE.finditer(stderr)]
    assert all(date == payload["context"]["date"] for date, payload in found)
    return [payload for _, payload in found]


def test_payloads_are_logged_in_flowers_format(home):
    """The log shows what would be sent, not what the caller gave."""
    env = {**NEVER, "FLWR_TELEMETRY_LOGGING": "1", "LOGNAME": "zaphod"}
    stderr = workload(home, "event('PING', {'a': 'zaphod'})\nevent('OTHER')", env).stderr
    payloads = _payloads(stderr)
    assert [wire.plain(payload) for payload in payloads] == homes.spooled(home)
    assert [payload["event_details"] for payload in payloads] == [{"a": "<redacted>"}, {}]
    assert "zaphod" not in stderr


@pytest.mark.parametrize("value", [None, "0", "", "true"])
def test_nothing_is_logged_by_default(home, value):
    """And no figure is measured for it."""
    code = f"{_CODE}print('psutil' in sys.modules, 'flwr_telemetry.hardware' in sys.modules)"
    done = workload(home, code, {**NEVER, "FLWR_TELEMETRY_LOGGING": value})
    assert (_payloads(done.stderr), done.stdout) == ([], "False False\n")


def test_the_context_when_off_is_the_real_one(home):
    """All fields of the would-be payload, the source too, are those that an event would have."""
    home.mkdir()
    (home / "source").write_text("9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1")
    env = {"FLWR_TELEMETRY_LOGGING": "1"}
    (off, _) = _payloads(workload(home, _CODE, {**env, "FLWR_TELEMETRY_ENABLED": "0"}).stderr)
    (on, _) = _payloads(workload(home, _CODE, {**env, **NEVER}).stderr)
    for payload in (off, on):
        del payload["context"]["date"], payload["context"]["cluster"]
    assert off == on
    assert off["context"]["source"] == "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1"


def test_what_is_logged_is_what_is_sent(home, collector):
    """So is what `inspect` shows of the spool: the body of each event, byte for byte."""
    homes.configure(home, collector.url, bursts=False)
    stderr = workload(home, _CODE, {**NEVER, "FLWR_TELEMETRY_LOGGING": "1"}).stderr
    shown = processes.command(home, "inspect", "--stage", "spool", "--json").stdout.splitlines()
    assert processes.once(home).returncode == 0
    sent = [request.body.decode() for request in collector.requests]
    assert sorted(shown) == sorted(sent)
    logged = _payloads(stderr)
    assert sorted(json.dumps(payload, separators=(",", ":")) for payload in logged) == sorted(sent)
    assert all(payload["context"]["hw"].keys() > {"cpu_count", "memory_gib"} for payload in logged)


_EVERY_PROCESS = """
import multiprocessing

def report(how):
    assert event("PING", {"how": how}).result() == "disabled"

if __name__ == "__main__":
    report("parent")
    for how in multiprocessing.get_all_start_methods():
        child = multiprocessing.get_context(how).Process(target=report, args=(how,))
        child.start()
        child.join()
"""


def test_every_process_logs(home, tmp_path):
    """However it was started; and none of them writes anything."""
    script = tmp_path / "workload.py"
    script.write_text("from flwr_telemetry import event\n" + _EVERY_PROCESS)
    env = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_TELEMETRY_LOGGING": "1"}
    done = processes.run(home, [str(script)], env)
    assert done.returncode == 0, done.stderr
    told = [payload["event_details"]["how"] for payload in _payloads(done.stderr)]
    assert told == ["parent", *multiprocessing.get_all_start_methods()]
    assert homes.tree(home.parent) == []
