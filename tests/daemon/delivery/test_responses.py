"""The meaning of answers: only an answer about the body itself refuses the body."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from flwr_telemetryd.delivery.outcome import Delivered, Refused, Retry
from flwr_telemetryd.delivery.responses import MAX_RETRY_AFTER_S, outcome_of, retry_after_s
from tests.support.strategies import tried

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
REFUSALS = {400, 413, 415, 422}


def test_2xx_delivers_four_codes_refuse_and_all_others_are_retried():
    for status in range(100, 600):
        outcome = outcome_of(status, {}, "word", NOW)
        kind = Delivered if status in range(200, 300) else Refused if status in REFUSALS else Retry
        assert type(outcome) is kind, status
        assert kind is not Retry or outcome == Retry(f"the collector answered {status}", None)


def test_a_retry_after_counts_with_every_other_code():
    for status in {0, 99, *range(100, 601), 999} - set(range(200, 300)) - REFUSALS:
        outcome = outcome_of(status, CaseInsensitiveDict({"retry-after": "7"}), "", NOW)
        assert outcome == Retry(f"the collector answered {status}", 7), status


@pytest.mark.parametrize("status", [200, 204, *sorted(REFUSALS)])
def test_a_retry_after_with_an_answer_about_the_body_is_ignored(status):
    assert not isinstance(outcome_of(status, {"Retry-After": "7"}, "", NOW), Retry)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the collector answered 422"),
        ("no such field", "the collector answered 422: no such field"),
        ("a\nb\x1b[31mc\0", "the collector answered 422: a b [31mc"),
        ("x" * 9999, "the collector answered 422: " + "x" * 500),
    ],
)
def test_the_reason_of_a_refusal_is_short_and_printable(text, reason):
    assert outcome_of(422, {}, text, NOW) == Refused(reason)


def date(seconds, zone=UTC):
    return format_datetime((NOW + timedelta(seconds=seconds)).astimezone(zone))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("0120", 120),
        ("86400", 86_400),
        ("86401", 86_400),
        ("9" * 400, 86_400),
        (date(90), 90),
        (date(90, timezone(timedelta(hours=-5))), 90),
        ("Sun, 22 Nov 2026 10:01:30 GMT", 90),
        ("Sun, 22 Nov 2026 10:01:30", 90),
        ("Sunday, 22-Nov-26 10:01:30 GMT", 90),
        (date(-90), 0),
        (date(10**8), 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Mon, 1 Jan 0001 00:00:00 GMT", 0),
        ("", None),
        (" ", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e3", None),
        ("0x10", None),
        ("١٢", None),  # digits, but not ASCII's
        ("1 2", None),
        ("soon", None),
        ("Sun, 99 Nov 2026 10:01:30 GMT", None),
        ("Sun, 22 Nov 2026 99:01:30 GMT", None),
        ("nan", None),
        ("\0", None),
        ("Sun, 22 Nov 99999999999999 10:01:30 GMT", None),
        ("Sun, 22 Nov 2026 10:01:30 +9999999999999", None),
        ("22 Nov 2026 0:0:99999999999999999999", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after_s(value, NOW) == seconds


dated = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Sun", "", "X"]),
    st.integers(-1, 40),
    st.sampled_from(["Nov", "11", "Foo"]),
    st.integers(-5, 12_000),
    *[st.integers(-1, 99)] * 3,
    st.sampled_from(["GMT", "+0100", "-9999", "", "EST", "+"]),
)


@tried(300)
@given(st.text(max_size=30) | dated | st.integers().map(str))
def test_no_header_raises(value):
    seconds = retry_after_s(value, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_S
