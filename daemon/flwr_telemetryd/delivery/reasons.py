"""A word for a person for whatever the libraries raise: ``last_error``.

Their own messages may hold addresses and a proxy's password, so none of them is ever quoted. The map is
total: what nothing here fits is told by its class.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import requests

from .deadline import DeadlineExceededError

# The first that fits is the word; subclasses stand before what they derive from.
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (DeadlineExceededError, "the request took longer than request_deadline_s"),
    (requests.exceptions.ProxyError, "the proxy cannot be reached or refuses"),
    (requests.exceptions.SSLError, "TLS failed: no TLS is spoken there, or none that we speak"),
    (requests.exceptions.ConnectTimeout, "no connection within connect_timeout_s"),
    (requests.exceptions.ReadTimeout, "no answer in time"),
    (requests.exceptions.ConnectionError, "no connection to the collector"),
    (requests.exceptions.ChunkedEncodingError, "the answer broke off"),
)

# OpenSSL's verify codes, of the certificates that people meet.
_CERTIFICATES = {
    9: "it is not valid yet; is this machine's clock right?",
    10: "it has expired, or this machine's clock is wrong",
    18: "it is signed by itself; set ca_bundle if that is as it should be",
    19: "it is signed by an unknown authority; set ca_bundle if that is your site's",
    20: "it is signed by an unknown authority; set ca_bundle if that is your site's",
    21: "it is signed by an unknown authority; set ca_bundle if that is your site's",
    62: "it belongs to another host name",
    64: "it belongs to another address",
}
_MOST_CAUSES = 50


def word_for(error: BaseException) -> str:
    """A word that holds no address and no credentials."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            code = getattr(cause, "verify_code", 0)
            return f"TLS: the certificate is not trusted: {_CERTIFICATES.get(code, f'verify code {code}')}"
    for kind, word in _WORDS:
        if isinstance(error, kind):
            return word
    return f"the request failed ({type(error).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it says it came from, in whatever way its library says so."""
    waiting: list[object] = [error]
    for _ in range(_MOST_CAUSES):
        if not waiting:
            return
        cause = waiting.pop()
        if isinstance(cause, BaseException):
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
