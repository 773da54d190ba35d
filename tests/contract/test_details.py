"""Section 3 and 5, details: what is JSON-like, what is refused, and what is redacted."""

import re

from tests.support import homes, processes
from tests.support.processes import NEVER, outcomes

_REFUSED = {
    "too large": "{'a': 'x' * 9000}",
    "too large in sum": "{f'k{i}': 'x' * 100 for i in range(100)}",
    "far too large": "{'a': 'x' * 70_000_000}",
    "nan": "{'a': float('nan')}",
    "nested nan": "{'a': [{'b': float('nan')}]}",
    "infinity": "{'a': float('inf')}",
    "minus infinity": "{'a': [float('-inf')]}",
    "65 bits": "{'a': 2**64}",
    "65 bits, negative": "{'a': -2**63 - 1}",
    "a huge number": "{'a': 10**5000}",
    "lone surrogate": "{'a': '\\ud800'}",
    "lone surrogate in a key": "{'\\udfff': 1}",
    "number as key": "{1: 'a'}",
    "none as key": "{None: 'a'}",
    "nested number as key": "{'a': {2: 'b'}}",
    "bytes": "{'a': b'b'}",
    "bytes as key": "{b'a': 1}",
    "set": "{'a': {1}}",
    "object": "{'a': object()}",
    "complex": "{'a': 1j}",
    "date": "{'a': __import__('datetime').datetime(2026, 1, 1)}",
    "cycle": "cycle",
    "cycle of lists": "{'a': ring}",
    "deep": "deep",
    "list": "['a']",
    "string": "'a'",
    "number": "7",
}

_OUR_ERROR = re.compile(r"flwr_telemetry\.[\w.]+: .*\w")

_SETUP = """
cycle = {}
cycle["self"] = cycle
ring = []
ring.append(ring)
deep = {}
for _ in range(100_000):
    deep = {"d": deep}
"""

_ACCEPTED = {
    "empty": {},
    "scalars": {"a": 1, "b": 1.5, "c": True, "d": None, "e": "text", "f": "", "g": False, "h": -0.0},
    "64 bits": {"a": 2**64 - 1, "b": -(2**63), "c": 2**63},
    "floats": {"a": 1.7976931348623157e308, "b": 5e-324, "c": 0.1},
    "text": {"a": 'äöü € 🌸 \u0000 \n \\ " / \u2028'},
    "odd keys": {"": 1, "a b": 2, "ä": 3, "burst": 4, "__proto__": 5},
    "nested": {"a": [1, [2, {"b": [None, {"c": "d"}]}]], "e": {"f": {}}, "g": []},
    "twenty levels": {"a": [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]},
    "almost 8 KiB": {"a": "x" * 8150},
}


def test_details_that_are_not_json_like_are_refused(home):
    calls = [f"'PING', {details}" for details in _REFUSED.values()]
    told = outcomes(home, [*calls, "'PING'"], NEVER, setup=_SETUP)
    assert told.pop() == "spooled"
    assert {name: line for name, line in zip(_REFUSED, told, strict=True) if not _OUR_ERROR.match(line)} == {}
    assert len(homes.spooled(home)) == 1


def test_json_like_details_are_spooled_as_they_are(home):
    told = outcomes(home, [f"'PING', {details!r}" for details in _ACCEPTED.values()], NEVER)
    assert dict(zip(_ACCEPTED, told, strict=True)) == dict.fromkeys(_ACCEPTED, "spooled")
    spooled = [event["event_details"] for event in homes.spooled(home)]
    assert list(map(repr, spooled)) == list(map(repr, _ACCEPTED.values()))


def test_details_are_taken_at_the_call(home):
    """A later change of the caller's mapping changes no record, and event() changes no mapping."""
    code = """
details = {"a": [1], "home": os.environ["HOME"]}
before = repr(details)
assert outcome(event("PING", details)) == "spooled"
assert repr(details) == before
details["a"].append(2)
assert outcome(event("PING", details)) == "spooled"
"""
    processes.workload(home, code, NEVER)
    assert [event["event_details"]["a"] for event in homes.spooled(home)] == [[1], [1, 2]]


def test_names_are_redacted_as_whole_tokens(home):
    """The user's name and the home directory, whatever the case, in keys and nested strings too."""
    user_home = str(home.parent)
    expected = {
        "zaphod": "<redacted>",
        "ZaPhOd": "<redacted>",
        "by zaphod, for zaphod": "by <redacted>, for <redacted>",
        "/data/zaphod/x.csv": "/data/<redacted>/x.csv",
        "zaphodia": "zaphodia",
        "mezaphod": "mezaphod",
        "zaphod@example": "<redacted>@example",
        f"{user_home}/data/x": "<redacted>/data/x",
        f"see {user_home.upper()}": "see <redacted>",
        user_home: "<redacted>",
    }
    if not homes.WINDOWS:  # where the temporary directory is in the real profile, which is redacted, too
        expected |= {f"{user_home}{rest}": f"{user_home}{rest}" for rest in ("2/x", "-old/x")}
    details = {"a": list(expected), "zaphod": 1, "b": [{"of zaphod": ["zaphod", 2]}]}
    names = {**dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "zaphod"), "HOME": user_home}
    calls = [f"'PING', {details!r}", "'PING', {'zaphod': 1}", "'PING', {'a': [{'zaphod': 1}]}"]
    assert outcomes(home, calls, {**NEVER, **names}) == ["spooled"] * 3
    assert [event["event_details"] for event in homes.spooled(home)] == [
        {"a": list(expected.values()), "<redacted>": 1, "b": [{"of <redacted>": ["<redacted>", 2]}]},
        {"<redacted>": 1},
        {"a": [{"<redacted>": 1}]},
    ]
