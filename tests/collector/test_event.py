"""``POST /api/v1/event``: what is accepted, what is refused, and that each event counts once."""

import gzip
import json
import random
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from flwr_telemetry.record import to_wire
from tests.support import records, wire
from tests.support.bodies import coalesce


@pytest.fixture
def source():
    return str(uuid.uuid4())


def events_of(shared, source):
    return [event for event in shared.events() if event["context"]["source"] == source]


def burst(source, count=6, *, start=0, **fields):
    """Events of one workload in the wire format, and the one body of them."""
    events = [to_wire(event) for event in records.series(count, start=start, source=source, **fields)]
    (body,) = coalesce(events)
    return events, body


@pytest.mark.parametrize("of", [dict, records.of_datasets])
def test_flowers_own_form_needs_no_key(shared, source, of):
    """Flower 1.2 to 1.42 send none. The same body twice counts once, and both are 201."""
    event = of(to_wire(records.sample({"n": 1}, source=source)))
    for _ in range(2):
        answer = shared.post(event)
        assert (answer.status_code, answer.headers["Accept-Encoding"]) == (201, "gzip")
    assert events_of(shared, source) == [event]


@pytest.mark.parametrize("coding", ["", "gzip", "x-gzip", "GZIP"])
@pytest.mark.parametrize("form", ["{}", '"{}"'])
def test_a_burst_is_given_back_event_by_event(shared, source, form, coding):
    """Its key may be bare or quoted, and its content compressed."""
    events, body = burst(source, 300)
    content = gzip.compress(body, mtime=0) if coding else body
    answer = shared.post(content, form.format(wire.key_of(body)), **{"Content-Encoding": coding})
    assert answer.status_code == 201
    assert wire.bag(events_of(shared, source)) == wire.bag(events)


def test_another_grouping_adds_nothing_but_what_is_new(shared, source):
    """As of a restored home: other bursts, single events, and a burst of known and new ones."""
    cluster = str(uuid.uuid4())
    events, body = burst(source, 9, cluster=cluster)
    more, both = burst(source, 14, cluster=cluster)
    assert shared.post(body).status_code == 201
    for known in (*coalesce(events[2:5]), *coalesce(events[::2]), *events):
        assert shared.post(known).status_code == 201
    assert wire.bag(events_of(shared, source)) == wire.bag(events)
    for _ in range(2):
        assert shared.post(both).status_code == 201
    assert wire.bag(events_of(shared, source)) == wire.bag(more)


def test_the_rows_of_one_body_are_different_events(shared, source):
    """Even two of one date; a body that repeats them adds nothing."""
    event = to_wire(records.sample(source=source))
    (body,) = coalesce([event, event, event])
    for one in (body, *coalesce([event, event]), event):
        assert shared.post(one).status_code == 201
    assert events_of(shared, source) == [event] * 3


def test_groupings_that_come_at_once(shared, source):
    """From many connections: every event arrives in several bodies, and counts once."""
    clusters = [str(uuid.uuid4()) for _ in range(4)]
    events = [
        to_wire(event) for cluster in clusters for event in records.series(20, source=source, cluster=cluster)
    ]
    chance = random.Random(7)
    bodies = []
    for _ in range(12):
        left = chance.sample(events, len(events))
        while left:
            size = chance.randint(1, 25)
            bodies += coalesce(left[:size])
            del left[:size]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(shared.post, bodies))
    assert {answer.status_code for answer in answers} == {201}
    assert wire.bag(events_of(shared, source)) == wire.bag(events)


def test_a_key_belongs_to_one_body(shared, source):
    """Another body under it is refused, and so told to its sender, unless its events are known."""
    first, second = (to_wire(records.sample({"n": n}, source=source)) for n in range(2))
    spaced = json.dumps(first, indent=1).encode()
    assert [shared.post(body, "mine").status_code for body in (first, spaced, second)] == [201, 201, 422]
    assert events_of(shared, source) == [first]


def padded(size, source="s", lines=1):
    """A valid body of a size, on so many lines."""
    event = to_wire(records.sample({"x": ""}, source=source))
    text = json.dumps(event, separators=(",", ":"))
    spaces = size - len(text)
    return (text[:-1] + "".join("\n" + " " * (spaces // lines - 1) for _ in range(lines)) + "}").encode()


MIB = 1024 * 1024


def test_sizes(shared, source):
    """1 MiB packed, 2 MiB unpacked, 1 MiB a line. A bomb is not unpacked."""
    noise = random.Random(1).randbytes(MIB + 1).hex().encode()
    packed = {"Content-Encoding": "gzip"}
    refused = {
        "a long line": shared.post(b" " * (MIB + 1)),
        "unpacked": shared.post(gzip.compress(b"\n" * (2 * MIB + 1)), **packed),
        "a bomb": shared.post(gzip.compress(b"\n" * (200 * MIB), 1), **packed),
        "packed": shared.post(gzip.compress(noise, 1, mtime=0), **packed),
        "plain": shared.post(b"\n" * (3 * MIB)),
        "by a byte": shared.post(b"\n" * (2 * MIB + 1)),
        "very long": shared.post(b"\n" * (12 * MIB)),
    }
    assert {name: answer.status_code for name, answer in refused.items()} == dict.fromkeys(refused, 413)
    large = padded(2 * MIB - 5, source, lines=3)
    assert shared.post(large).status_code == 201
    assert shared.post(gzip.compress(large, mtime=0), **packed).status_code == 201
    assert len(events_of(shared, source)) == 1


NO_JSON = [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": -1e999}', b"[" * 100_000]
PACKED = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize(
    ("status", "headers", "contents"),
    [
        (400, {}, [*NO_JSON, b'{"a": ' + b"9" * 10_000 + b"}"]),
        (400, {"Content-Encoding": "gzip"}, [b"{}", PACKED[:-3], PACKED + b"more"]),
        (415, {"Content-Encoding": "br"}, [b"{}"]),
        (415, {"Content-Type": "text/plain"}, [b"{}"]),
        (422, {}, [b"[]"]),
    ],
)
def test_refused(shared, status, headers, contents):
    for content in contents:
        answer = shared.post(content, **headers)
        assert (answer.status_code, set(answer.json()) <= {"error", "field"}) == (status, True), content[:20]


WRONG = {
    "event_type": [None, "lower case", "A" * 65],
    "event_details": [None, [], {"x": json.loads("[" * 200 + "]" * 200)}],
    "context": [[]],
    "context.source": [None, "", "a\0b", "\ud800", "x" * 65],
    "context.cluster": [5],
    "context.date": ["2026-11-22T10:00:00", 1_795_000_000, "soon"],
    "context.flower": ["1.42.0"],
    "context.platform": [[]],
    "context.hw": [8],
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field_is_named(shared, source, field):
    *above, name = field.split(".")
    for value in WRONG[field]:
        event = to_wire(records.sample(source=source))
        (event[above[0]] if above else event)[name] = value
        answer = shared.post(event)
        assert (answer.status_code, answer.json()["field"]) == (422, field), value


@pytest.mark.parametrize(
    "change",
    [
        lambda burst: burst.update(count=7),
        lambda burst: burst.update(clusters=[]),
        lambda burst: burst.update(clusters=["another"]),
        lambda burst: burst["events"].reverse(),
        lambda burst: burst["events"].pop(0),
        lambda burst: burst["events"][2].__setitem__(0, 1),
        lambda burst: burst["events"][0].__setitem__(1, 1),
        lambda burst: burst["events"][0].__setitem__(2, "another"),
        lambda burst: burst.pop("varying"),
        lambda burst: burst.update(events=[], count=0),
        lambda burst: burst["events"][-1].__setitem__(1, 10**18),
    ],
)
def test_a_burst_that_no_sidecar_made(shared, source, change):
    _, body = burst(source)
    decoded = json.loads(body)
    change(decoded["burst"])
    answer = shared.post(decoded)
    assert (answer.status_code, answer.json()["field"]) == (422, "burst")
    assert shared.post({**decoded, "burst": None}).status_code == 422


def test_what_a_database_may_not_take(shared, source):
    """Odd values in fields that are only kept: none fails, and none harms the bodies beside it."""
    odd = to_wire(records.sample({"\0": "\ud800", "n": 2**70, "success": "no"}, source=source))
    odd["context"]["hw"] = {"cpu_count": 10**30, "memory_gib": -1}
    odd["context"]["platform"] = {"system": "a\0b", "machine": "\ud800", "python_version": ["3"]}
    odd["context"]["partner"] = None
    plain = to_wire(records.sample(source=source))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(shared.post, [odd, plain] * 4))
    assert {answer.status_code for answer in answers} == {201}
    found = events_of(shared, source)
    assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, [odd, plain]))


def test_other_methods_and_paths(shared):
    asked = ("GET", "/api/v1/event"), ("HEAD", "/api/v1/event"), ("POST", "/api/v1/other")
    assert [shared.ask(*one).status_code for one in asked] == [405, 405, 404]
    assert "POST" in shared.ask("OPTIONS", "/api/v1/event").headers["Allow"]
    assert shared.ask("GET", "/openapi.json").json()["openapi"].startswith("3.1")


def test_a_client_that_goes_away_costs_nothing(shared, source):
    """Its body is whole or not there; the next request is answered."""
    for end in (40, 400):
        with socket.create_connection(("127.0.0.1", shared.port)) as client:
            head = "POST /api/v1/event HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            client.sendall((head + "Content-Length: 900\r\n\r\n" + "{" * 900).encode()[:end])
    event = to_wire(records.sample(source=source))
    assert shared.post(event).status_code == 201
    assert "failed" not in shared.printed()
