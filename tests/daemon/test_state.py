"""``sidecar.json``: for readers alone, so nothing in it may do harm."""

import json
import os

import pytest

from flwr_telemetryd.state import State

FULL = (
    {"pid": 7, "born": "pid:[4026531836] 12345", "mode": "service", "version": "1", "ended": "x"}
    | {"started": "2026-11-22T10:00:00+00:00", "last_delivery": "y", "next_try": "z", "last_error": "w"}
    | {"damaged": 1, "rejected": 2, "retried": 3, "requests": 4, "delivered_events": 5}
    | {"hardware": {"memory_gib": 16}, "measured_in": "z"}
)


def test_a_saved_state_is_loaded_and_its_file_is_private(host):
    """An unchanged state is not written."""
    state = State(**FULL)
    assert {*State.__annotations__} == set(FULL)
    state.save(host)
    assert state.public() == State.load(host).public() == json.loads(host.state.read_text()) == FULL
    assert host.state.stat().st_mode & 0o777 == 0o600
    assert os.listdir(host.root) == ["sidecar.json"]
    host.state.unlink()
    state.save(host)
    assert not host.state.exists()
    state.requests += 1
    state.save(host)
    assert State.load(host).requests == 5


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"null", b"[1]", b"\xff\xfe", b'{"pid": 1' + b" " * 70_000 + b"}", b"[" * 60_000],
    ids=lambda content: str(content)[:20],
)
def test_a_missing_or_damaged_file_is_an_empty_state(host, content):
    if content is not None:
        host.state.write_bytes(content)
    assert State.load(host).public() == State().public()
    host.state.unlink(missing_ok=True)  # the tools of the tests read it too


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("pid", value) for value in ("7", True, 7.0)), ("mode", 7), ("mode", None), ("damaged", []), ("x", 1)],
)
def test_a_field_of_another_type_is_ignored(host, name, value):
    host.state.write_text(json.dumps({**FULL, name: value}))
    kept = {**FULL, name: getattr(State(), name)} if name in FULL else FULL
    assert State.load(host).public() == kept
    assert State.load(host)._saved == ""
