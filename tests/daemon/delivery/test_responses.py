"""The meaning of answers and errors: only an answer about the body itself refuses the body."""

import http.client
import ssl
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from flwr_telemetryd.delivery.deadline import DeadlineExceededError
from flwr_telemetryd.delivery.outcome import Delivered, Refused, Retry
from flwr_telemetryd.delivery.reasons import reason_for
from flwr_telemetryd.delivery.responses import MAX_RETRY_AFTER_S, outcome_of, retry_after_s
from tests.support.strategies import tried

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
REFUSALS = {400, 413, 415, 422}


def test_2xx_delivers_four_codes_refuse_and_all_others_are_retried():
    """A Retry-After counts with all others alone, also codes of no standard, in any case of its letters."""
    after_7_s = CaseInsensitiveDict({"retry-after": "7"})
    for status in (0, 99, *range(100, 601), 999):
        told = [outcome_of(status, headers, "word", NOW) for headers in ({}, after_7_s)]
        if 200 <= status < 300:
            assert told == [Delivered()] * 2
        elif status in REFUSALS:
            assert [type(outcome) for outcome in told] == [Refused] * 2
        else:
            assert told == [Retry(f"the collector answered {status}", after_s) for after_s in (None, 7)]


TOLD = {"": "", "no field": ": no field", "a\nb\x1b[31mc\0": ": a b [31mc", "x" * 9999: ": " + "x" * 500}


@pytest.mark.parametrize(("text", "told"), TOLD.items())
def test_the_reason_of_a_refusal_is_short_and_printable(text, told):
    assert outcome_of(422, {}, text, NOW) == Refused(f"the collector answered 422{told}")


def date(seconds, zone=UTC):
    return format_datetime((NOW + timedelta(seconds=seconds)).astimezone(zone))


INVALID = [" ", "", "-1", "+1", "1.5", "1e3", "0x10", "1 2", "soon", "nan", "\0"]
INVALID += ["١٢"]  # digits, but not ASCII's
INVALID += ["Sun, 99 Nov 2026 10:01:30 GMT", "Sun, 22 Nov 2026 99:01:30 GMT", f"22 Nov 2026 0:0:{'9' * 20}"]
INVALID += ["Sun, 22 Nov 99999999999999 10:01:30 GMT", "Sun, 22 Nov 2026 10:01:30 +9999999999999"]
VALID = (
    {"0": 0, "120": 120, " 120 ": 120, "0120": 120, "86400": 86_400, "86401": 86_400, "9" * 400: 86_400}
    | dict.fromkeys(["Sun, 22 Nov 2026 10:01:30", "Sunday, 22-Nov-26 10:01:30 GMT", date(90)], 90)
    | {date(90, timezone(timedelta(hours=-5))): 90, date(-90): 0, date(10**8): 86_400}
    | {"Fri, 31 Dec 9999 23:59:59 GMT": 86_400, "Mon, 1 Jan 0001 00:00:00 GMT": 0}
)


@pytest.mark.parametrize(("value", "seconds"), [*VALID.items(), *dict.fromkeys([None, *INVALID]).items()])
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


@tried(100)
@given(st.text(max_size=30) | dated | st.integers().map(str))
def test_no_header_raises(value):
    seconds = retry_after_s(value, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_S


# The reason of a request that failed

SECRET = "quite-secret"


CIRCLE = ValueError(SECRET)
CIRCLE.args = (CIRCLE, CIRCLE)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (CIRCLE, "the request failed (ValueError)"),
        (DeadlineExceededError(), "request_deadline_s"),
        (requests.exceptions.ProxyError(SECRET), "the proxy"),
        (requests.exceptions.SSLError(SECRET), "TLS failed"),
        (requests.exceptions.ConnectTimeout(SECRET), "connect_timeout_s"),
        (requests.exceptions.ReadTimeout(SECRET), "no answer in time"),
        (requests.exceptions.ConnectionError(SECRET), "no connection"),
        (requests.exceptions.ChunkedEncodingError(SECRET), "broke"),
        (http.client.IncompleteRead(b""), "(IncompleteRead)"),
    ],
)
def test_the_nearest_class_gives_the_reason(error, text):
    assert text in reason_for(error)
    assert SECRET not in reason_for(error)


@pytest.mark.parametrize(
    ("code", "text"),
    [(10, "expired"), (18, "ca_bundle"), (20, "authority"), (62, "host name"), (99, "code 99")],
)
def test_the_reason_for_a_certificate_at_any_depth(code, text):
    reason = ssl.SSLCertVerificationError(1, f"not valid for {SECRET}")
    reason.verify_code = code
    hidden = urllib3.exceptions.MaxRetryError(None, SECRET, urllib3.exceptions.SSLError(reason))
    assert text in reason_for(requests.exceptions.SSLError(hidden))
    assert SECRET not in reason_for(requests.exceptions.SSLError(hidden))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WRONG_VERSION_NUMBER", "speaks no TLS"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "no version of TLS in common"),
        ("DH_KEY_TOO_SMALL", "OpenSSL says DH_KEY_TOO_SMALL"),
        (f"{SECRET}: no", "no version that we support"),
    ],
)
def test_the_reason_of_a_handshake_that_failed(name, text):
    error = ssl.SSLError(1, SECRET)
    error.reason = name
    assert reason_for(error).startswith("TLS failed: ")
    assert text in reason_for(error)
    assert SECRET not in reason_for(error)


@pytest.mark.parametrize(
    ("code", "is_told"), [(66, True), (89, True), (-2147408896, False), (0x800B0109, False)]
)
def test_the_text_of_openssl_for_a_certificate(code, is_told):
    """The package truststore shows codes of the system instead, whose texts may hold names."""
    error = ssl.SSLCertVerificationError(1, SECRET)
    error.verify_code, error.verify_message = code, "CA cert does not include key usage extension"
    assert ("key usage" in reason_for(error)) is is_told
    assert f"verify code {code}" in reason_for(error)


def test_an_unknown_authority_has_the_remedy_that_helps():
    """The system's store is not asked where a bundle is exclusive, and a date has nothing to do with it."""
    error = ssl.SSLCertVerificationError(1, SECRET)
    for error.verify_code in (18, 20):
        assert "set ca_bundle" in reason_for(error)
        told = reason_for(error, "CURL_CA_BUNDLE")
        assert "only the certificates that CURL_CA_BUNDLE names are trusted" in told
        assert "set ca_bundle" not in told
    error.verify_code = 10
    assert reason_for(error, "CURL_CA_BUNDLE") == reason_for(error)
