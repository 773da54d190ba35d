"""`flwr-telemetry fields` on a terminal that lacks characters; `tests/contract` has its content."""

from flwr_telemetryd.delivery.otlp import MAPPING
from tests.support import homes
from tests.support.commands import answer_of, ran


def test_what_a_request_is_depends_on_the_settings(home):
    """A terminal may know ASCII alone."""
    told = ran(home, "fields", env={"PYTHONIOENCODING": "ascii"}).stdout
    assert ("delay in ?s, and those details" in told, "a POST of this JSON." in told) == (True, True)
    homes.configure(home, "https://c.example/v1/logs", format="otlp", headers_file="/x/headers.toml")
    told = ran(home, "fields").stdout
    assert "a POST of these fields as OTLP (see --as otlp)." in told
    assert "and those in headers_file." in told


def test_where_each_field_stands_in_otlp(home):
    """By the very table that the requests are made from."""
    told, listed = ran(home, "fields", "--as", "otlp").stdout, answer_of(home, "fields", "--as", "otlp")
    assert [(row["name"], row["field"]) for row in listed] == [(row.name, row.field) for row in MAPPING]
    assert all(row.name in told and row.field in told for row in MAPPING)
