"""Section 4: the settings, their order, and malformed files."""

import json
import re

import pytest

from tests.support import homes, processes, records
from tests.support.collector import Answer
from tests.support.commands import RECORD_LOGS
from tests.support.processes import NEVER, answers, outcomes


@pytest.mark.parametrize("data", [b'url = "\xff\xfe"\n', b'burst_window_s = "soon"\n'])
def test_a_malformed_file_switches_off(home, data):
    """With a settings file that cannot be understood nothing is written, and one warning is logged."""
    homes.write_settings(home, data)
    before = homes.tree(home.parent)
    code = """
told = [outcome(event("PING")) for _ in range(3)]
print(json.dumps([told, sum(level == "WARNING" for level, _ in records)]))
"""
    assert answers(home, RECORD_LOGS + code) == [["disabled"] * 3, 1]
    assert homes.tree(home.parent) == before
    assert processes.processes_of(home) == {}


@pytest.mark.parametrize(
    "url", ["", "http://192.0.2.1/api", "http://127.0.0.1@collector.example/", "file://server/share/x.jsonl"]
)
def test_an_address_that_is_not_allowed_gets_nothing(home, collector, url):
    """Plain http leaves the machine never, not even through a proxy, and nothing is lost."""
    homes.put(home, records.series(2))
    homes.configure(home, url)
    proxies = dict.fromkeys(
        ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), f"http://127.0.0.1:{collector.port}"
    )
    assert processes.once(home, proxies).returncode != 0
    assert collector.requests == []
    assert len(homes.spooled(home)) + len(homes.waiting(home)) > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST"])
def test_plain_http_to_loopback_is_allowed(home, collector, host):
    homes.configure(home, f"http://{host}:{collector.port}/x?y=z")
    processes.spool_events(home)
    processes.deliver(home)
    assert [request.path for request in collector.requests] == ["/x?y=z"]


@pytest.mark.parametrize("host", ["telemetry.flower.ai", "collector.example"])
def test_the_default_address_is_flowers_and_a_proxy_setting_wins(home, collector, host):
    """Without settings events go to Flower by https, through the environment's proxy."""
    homes.put(home, records.series(1))
    proxy, other = f"http://127.0.0.1:{collector.port}", "http://127.0.0.1:9"
    homes.configure(home, f"https://{host}/x", proxy=proxy)
    if host == "telemetry.flower.ai":
        homes.config_file(home).unlink()
        other = proxy
    collector.answer_by(lambda _request: Answer(403))
    assert processes.once(home, {"https_proxy": other}).returncode != 0
    assert {(request.method, request.path) for request in collector.requests} == {("CONNECT", f"{host}:443")}
    assert homes.unsent_files(home)


def test_no_environment_variable_sets_the_address(home, collector):
    names = "FLWR_TELEMETRY_URL FLWR_TELEMETRY_ENDPOINT OTEL_EXPORTER_OTLP_ENDPOINT"
    names += " OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
    env = dict.fromkeys(names.split(), "http://127.0.0.1:9/")
    processes.spool_events(home, env=env)
    processes.deliver(home, env)
    assert len(collector.events()) == 1


def test_a_file_address_appends_bodies_as_lines(home, tmp_path):
    """`file:///…` is for machines without a network: each body is one JSON line of that file."""
    out = tmp_path / "out" / "events.jsonl"
    out.parent.mkdir()
    homes.configure(home, out.as_uri())
    processes.spool_events(home, 3)
    processes.deliver(home)
    processes.spool_events(home, 1, event_type="OTHER")
    processes.deliver(home)
    lines = out.read_bytes().splitlines()
    assert lines == homes.sent(home)
    assert [json.loads(line)["event_type"] for line in lines] == ["PING", "OTHER"]


@pytest.mark.parametrize("env", [NEVER, {}, {"SLURM_JOB_ID": "1"}], ids=str)
def test_what_starts_no_sidecar(home, collector, env):
    """A batch job (the emitter's `test_launch.py` has others), the variable, or the setting alone."""
    homes.configure(home, collector.url, **({} if env else {"sidecar": "never"}))
    assert processes.emit(home, env=env) == ["spooled"]
    assert processes.processes_of(home) == {}
    assert not (homes.host(home) / "sidecar.json").exists()
    assert len(homes.spooled(home)) == 1


@pytest.mark.parametrize(
    "env", [{"SLURM_JOB_ID": "1", "FLWR_TELEMETRY_SIDECAR": "always"}, {"JOB_ID": "1"}], ids=str
)
def test_what_is_no_reason_not_to_start(home, collector, env):
    """`always` starts one inside a batch job too, and JOB_ID alone is no batch job."""
    assert processes.emit(home, env=env) == ["spooled"]
    processes.wait_until(lambda: len(collector.events()) == 1)


def test_a_home_that_cannot_be_made_is_an_error_in_the_future(home):
    """A file, or where the system allows no directory: an exception of ours says something."""
    home.write_text("a file")
    for place in (home, homes.IMPOSSIBLE):
        (told,) = outcomes(home, ["'PING'"], {"FLWR_HOME": str(place)})
        assert re.match(r"flwr_telemetry\.[\w.]+: .*\w", told)
    assert home.read_text() == "a file"


def test_a_change_reaches_a_running_workload(home):
    """The emitter looks at the files again, and at once before it creates anything."""
    homes.configure(home, "http://127.0.0.1:9/")
    code = f"""
import shutil, time
path, host = {str(homes.config_file(home))!r}, {str(homes.host(home))!r}
def change(text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)
def until(wanted):
    deadline = time.monotonic() + 50
    while outcome(event("PING")) != wanted:
        assert time.monotonic() < deadline, wanted
        time.sleep(0.05)
until("spooled")
shutil.rmtree(host)
change("enabled = false\\n")
assert outcome(event("PING")) == "disabled" and not os.path.exists(host)
change("enabled = true\\n")
until("spooled")
change("enabled = \\n")
until("disabled")
"""
    processes.workload(home, code, NEVER)


def test_switching_off_reaches_a_running_sidecar(home, collector):
    """A sidecar that finds the file saying off deletes what was not sent, keeps the archive, and ends."""
    homes.configure(home, collector.url, idle_exit_s=600)
    processes.emit(home, 2)
    processes.wait_until(lambda: homes.sent(home))
    archive = homes.sent(home)
    collector.answer_by(lambda _request: 503)
    processes.emit(home, 2, start_at=2)
    processes.wait_until(lambda: homes.waiting(home))
    processes.emit(home, 2, start_at=4)
    homes.configure(home, collector.url, enabled=False, idle_exit_s=600)
    processes.wait_for_end(home)
    assert homes.unsent_files(home) == []
    assert homes.sent(home) == archive
    assert homes.config_file(home).exists()
    assert (home / "source").exists()
    requests = len(collector.requests)
    processes.once(home)
    assert len(collector.requests) == requests
