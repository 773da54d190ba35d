"""`flwr-telemetry fields` on a terminal that lacks characters; `tests/contract` has its content."""

import json

from flwr_telemetryd.delivery.otlp import MAPPING
from tests.support.processes import command


def test_a_terminal_that_knows_ascii_alone(home):
    """A character that the terminal lacks becomes a question mark."""
    done = command(home, "fields", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "delay in ?s, and those details" in done.stdout


def test_where_each_field_stands_in_otlp(home):
    """By the very table that the requests are made from."""
    told = command(home, "fields", "--as", "otlp").stdout
    listed = json.loads(command(home, "fields", "--as", "otlp", "--json").stdout)
    assert [(row["name"], row["field"]) for row in listed] == [(row.name, row.field) for row in MAPPING]
    assert all(row.name in told and row.field in told for row in MAPPING)
