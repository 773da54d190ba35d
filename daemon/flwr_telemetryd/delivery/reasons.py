"""The reason of a failed request, for people: it becomes ``last_error``.

The messages of the libraries may hold addresses and a proxy's password. So they are never quoted: each class
of exception has a sentence here, and any other exception is named by its class.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

# By the names of classes, because a sidecar that meets no proxy never loads ``requests``.
_REASONS = {
    f"{__package__}.deadline.DeadlineExceededError": "the request took longer than request_deadline_s",
    f"{__package__}.connection.OutOfStepError": (
        "the answers of the collector, or of a proxy before it, are out of step with the requests"
    ),
    f"{__package__}.direct.ConnectTimeoutError": "no connection within connect_timeout_s",
    f"{__package__}.direct.NoAnswerError": "no answer in time",
    f"{__package__}.direct.NoConnectionError": "no connection to the collector",
    "ssl.SSLError": "TLS failed: the server speaks no TLS, or no version that we support",
    "requests.exceptions.ProxyError": "the proxy cannot be reached or refuses",
    "requests.exceptions.SSLError": "TLS failed: the server speaks no TLS, or no version that we support",
    "requests.exceptions.ConnectTimeout": "no connection within connect_timeout_s",
    "requests.exceptions.ReadTimeout": "no answer in time",
    "requests.exceptions.ConnectionError": "no connection to the collector",
    "requests.exceptions.ChunkedEncodingError": "the connection broke during the answer",
}

# OpenSSL's verify codes, for the usual problems with certificates.
_CERTIFICATES = {
    9: "it is not valid yet; is this machine's clock right?",
    10: "it has expired, or this machine's clock is wrong",
    18: "it is signed by itself; if that is intended, set ca_bundle",
    **dict.fromkeys(
        (2, 19, 20, 21),
        "it is signed by an unknown authority; if it is your site's, add that to the system's store, or set "
        "ca_bundle",
    ),
    62: "it belongs to another host name",
    64: "it belongs to another address",
}
_MOST_CAUSES = 50


def reason_for(error: BaseException) -> str:
    """A sentence for people that holds no address and no credentials."""
    if (cause := certificate_error(error)) is not None:
        code = getattr(cause, "verify_code", 0)
        return f"TLS: the certificate is not trusted: {_CERTIFICATES.get(code, f'verify code {code}')}"
    if any(isinstance(cause, ssl.SSLError) and _wants_ours(cause) for cause in _causes(error)):
        return "TLS: the server ended it; does it want a certificate of this client? See client_cert"
    if any(type(cause).__name__ == "BadStatusLine" for cause in _causes(error)):
        return "what answers there speaks no HTTP/1.1; it may be a port of gRPC"
    for kind in type(error).__mro__:  # the nearest class that is known gives the reason
        if reason := _REASONS.get(f"{kind.__module__}.{kind.__qualname__}"):
            return reason
    return f"the request failed ({type(error).__name__})"


def _wants_ours(error: ssl.SSLError) -> bool:
    """Whether a server may have refused the certificate of a client. It often ends TLS without an alert."""
    alert = str(getattr(error, "reason", ""))
    return isinstance(error, ssl.SSLEOFError) or (
        "ALERT" in alert and ("CERTIFICATE" in alert or "UNKNOWN_CA" in alert)
    )


def certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The error of a certificate among an exception and its causes; None if there is none."""
    return next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, by every attribute in which the libraries keep them."""
    waiting: list[object] = [error]
    for _ in range(_MOST_CAUSES):
        if not waiting:
            return
        cause = waiting.pop()
        if isinstance(cause, BaseException):
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
