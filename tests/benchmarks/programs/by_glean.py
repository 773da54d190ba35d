"""Events by Glean, which uploads a ping whenever 500 have come."""

import json
import os
from pathlib import Path

import program
from glean import Configuration, Glean, load_metrics


def begin(origin):
    Glean.initialize(
        application_id="benchmark",
        application_version="1.0",
        upload_enabled=True,
        data_dir=Path(os.environ["HOME"]) / "glean",
        configuration=Configuration(server_endpoint=origin),
    )
    metrics = load_metrics(Path(__file__).with_name("glean_metrics.yaml"))
    ping, extra = metrics.benchmark.ping, metrics.benchmark.PingExtra

    def emit(details):
        ping.record(extra(details=json.dumps(details)))

    return emit, Glean.shutdown


if __name__ == "__main__":
    program.main(begin)
