"""Output of the commands: quantities in words, text without control characters, errors in one line."""

import warnings
from datetime import UTC, datetime, timedelta

import pytest

from tests.support import homes
from tests.support.processes import command

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # typer imports names that click deprecates
    from flwr_telemetryd.cli import output

SPANS = [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (172_800, "2 days")]
SIZES = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**40, "1024.0 GiB")]


def test_quantities_and_moments_in_words():
    assert [(seconds, output.span(seconds)) for seconds, _ in SPANS] == SPANS
    assert [(count, output.size(count)) for count, _ in SIZES] == SIZES
    now = datetime.now(UTC)
    assert output.ago(now.isoformat()) == "just now"
    assert output.ago((now - timedelta(seconds=200)).isoformat()) == "3 min ago"
    assert output.ago((now + timedelta(hours=5.5)).isoformat()) == "in 5 h"
    assert output.ago("soon") == "soon"
    assert output.ago("2026-11-25T10:00:00") == "2026-11-25T10:00:00"  # has no offset


def test_a_name_cannot_fake_a_line(home):
    """Control characters are replaced. A line feed stays in a body, which may be printed on several lines."""
    assert output.plain("\x1b[2Jä\n\x07\u202e") == "?[2Jä\n??"
    odd = home.parent / "a\nflwr-telemetry: all is well"
    odd.write_text("no directory")
    done = command(home, "disable", "--home", str(odd))
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"flwr-telemetry: {home.parent}/a flwr-telemetry: all is well: ")


@pytest.mark.parametrize("width", ["20", "45"])
def test_the_doctor_is_legible_on_a_narrow_terminal(home, width):
    homes.configure(home, (home.parent / "bodies.jsonl").as_uri(), sidecar="never")
    env = {"COLUMNS": width, "LINES": "25", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb"}
    told = command(home, "doctor", env=env).stdout
    assert max(map(len, told.splitlines())) <= int(width)
    assert "on: nothing says otherwise" in " ".join(told.split())
