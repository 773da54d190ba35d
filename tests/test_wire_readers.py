"""What a collector's programmer takes from the emitter's README: the JSON Schema, and ``expand``."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import identity
from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from tests.support import bodies, homes, processes, readme, records, schema
from tests.support.strategies import dates_us, json_values, packed, tried, words

EVENTS = """
from flwr_telemetry import datasets, event
for number in range(3):
    event("PING", {"n": number, "deep": [{"x": None}]})
    datasets.event("LOAD_SPLIT_CALLED")
"""


def test_the_schema_is_made_from_the_record_of_fields():
    assert schema.SCHEMA.read_text(encoding="utf-8") == schema.text()


@pytest.mark.parametrize("bursts", [True, False])
@pytest.mark.parametrize("hardware", [True, False])
def test_every_body_fits_the_schema(home, collector, bursts, hardware):
    """Of Flower and flwr-datasets, with and without what the sidecar adds. One more key does not fit."""
    jsonschema = pytest.importorskip("jsonschema")
    checker = jsonschema.Draft202012Validator(json.loads(schema.text()))
    homes.configure(home, collector.url, bursts=bursts, hardware=hardware)
    done = processes.run(home, ["-c", EVENTS], processes.NEVER)
    assert done.returncode == 0, done.stderr
    processes.deliver(home)
    found = [json.loads(body) for body in collector.accepted.values()]
    assert len(found) == (2 if bursts else 6)
    if not bursts and not hardware:  # then it is Flower's own JSON, key by key
        assert {tuple(body) for body in found} == {("event_type", "event_details", "context")}
        assert {tuple(body["context"]["hw"]) for body in found} == {("cpu_count",)}
    for body in found:
        checker.validate(body)
        context = body["context"]
        for place in (body, context, context["hw"], context["platform"]):
            place["user"] = "theodora"
            assert not checker.is_valid(body)
            del place["user"]
    for name in identity.STATIC:
        group, key = name.split(".")
        found[0]["context"][group][key] = identity.UNKNOWN
    checker.validate(found[0])


def readmes_expand():
    """The function in the README, as a reader would copy it."""
    text = readme.EMITTER.read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- expand -->\n```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 20
    names = {}
    exec(code, names)
    return names["expand"]


events = st.builds(
    records.sample,
    st.dictionaries(st.sampled_from("abc") | words(max_size=3), json_values(), max_size=3),
    cluster=st.sampled_from(["c1", "c2"]),
    date_us=dates_us | st.integers(1_795_000_000_000_000, 1_795_000_000_000_003),
)


@tried(60)
@given(st.lists(events, max_size=12), st.booleans())
def test_the_readmes_expand_gives_back_what_went_in(crowd, bursts):
    expand = readmes_expand()
    for body in bodies.coalesce(map(to_wire, crowd), bursts=bursts):
        theirs = expand(body)
        assert packed(theirs) == packed(codec.expand(body))
        assert list(map(list, theirs)) == list(map(list, codec.expand(body)))
        assert len(theirs) == json.loads(body).get("burst", {"count": 1})["count"]
