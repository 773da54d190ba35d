"""The reason of a failed request: a sentence for people, without an address and without credentials."""

import http.client
import ssl

import pytest
import requests
import urllib3

from flwr_telemetryd.delivery.deadline import DeadlineExceededError
from flwr_telemetryd.delivery.reasons import reason_for

SECRET = "quite-secret"


@pytest.mark.parametrize(
    ("error", "text"),
    [
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


def test_a_circle_of_causes_ends():
    error = ValueError(SECRET)
    error.args = (error, error)
    assert reason_for(error) == "the request failed (ValueError)"
