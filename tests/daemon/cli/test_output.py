"""Output of the commands: quantities in words, text without control characters, errors in one line."""

import warnings
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.processes import command

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # typer imports names that click deprecates
    from flwr_telemetryd.cli import output


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (172_800, "2 days")],
)
def test_a_span_in_words(seconds, words):
    assert output.span(seconds) == words


def test_a_moment_in_words():
    """Before and after now; text that is no date stays as it is."""
    now = datetime.now(UTC)
    assert output.ago(now.isoformat()) == "just now"
    assert output.ago((now - timedelta(seconds=200)).isoformat()) == "3 min ago"
    assert output.ago((now + timedelta(hours=5.5)).isoformat()) == "in 5 h"
    assert output.ago("soon") == "soon"
    assert output.ago("2026-11-25T10:00:00") == "2026-11-25T10:00:00"  # has no offset


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**40, "1024.0 GiB")]
)
def test_a_size_in_words(count, words):
    assert output.size(count) == words


def test_a_number_in_words():
    assert output.number(1, "body", "bodies") == "1 body"
    assert [output.number(n, "event") for n in (0, 1, 2)] == ["0 events", "1 event", "2 events"]


def test_a_sentence_has_one_end():
    assert [output.ended(text) for text in ("a", "a.", "a…", "a?")] == ["a.", "a.", "a…", "a?"]


def test_control_characters_are_replaced():
    """A line feed stays, because a body may be printed on several lines."""
    assert output.plain("\x1b[2Jä\n\x07\u202e") == "?[2Jä\n??"


def test_a_help_text_has_one_line_a_paragraph():
    """Except in a list, which begins with a mark of click."""
    assert output.help_text("a\nb\n\n\\b\n1\n2\n") == "a b\n\n\b\n1\n2"


def test_a_name_cannot_fake_a_line(home):
    """An error is one line, even if the name of a directory holds a line feed."""
    odd = home.parent / "a\nflwr-telemetry: all is well"
    odd.write_text("no directory")
    done = command(home, "disable", "--home", str(odd))
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"flwr-telemetry: {home.parent}/a flwr-telemetry: all is well: ")
