"""The reason of a failed request, for people: it becomes ``last_error``.

The messages of the libraries may hold addresses and a proxy's password. So they are never quoted: each class
of exception has a sentence here, and any other exception is named by its class. Only OpenSSL's own names and
texts of errors are shown, because they are fixed.
"""

from __future__ import annotations

import http.client
import re
import socket
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

_NO_HTTP = "what answers there speaks no HTTP/1.1; it may be a port of gRPC"
_UNUSABLE = "the answer cannot be used, because its head has too many or too long lines"

# By OpenSSL's names of errors. Any other name is shown as it is.
_TLS = {
    **dict.fromkeys(
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"),
        "what answers there speaks no TLS; is it an address of http://?",
    ),
    **dict.fromkeys(
        ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE"),
        "the server and this machine have no version of TLS in common",
    ),
}
_NAME_OF_OPENSSL = re.compile("[A-Z0-9_]+", re.ASCII)

# OpenSSL's verify codes, for the usual problems with certificates. Any other has OpenSSL's own text.
_CERTIFICATES = {
    9: "it is not valid yet; is this machine's clock right?",
    10: "it has expired, or this machine's clock is wrong",
    62: "it belongs to another host name",
    64: "it belongs to another address",
}
_BY_ITSELF, _BY_A_STRANGER = 18, (2, 19, 20, 21)
_MOST_CODE = 1000
"""A code above is none of OpenSSL's, but of a system whose texts may hold names."""

_ENDED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})\b", re.ASCII)
"""http.client's text if a proxy refuses a tunnel; the rest of it is the proxy's."""
_WITH_FURTHER = {"NoConnectionError", "ConnectionError", "ProxyError"}
"""The classes whose sentence is completed by what a cause tells."""
_MOST_CAUSES = 50


def reason_for(error: BaseException, only_trusted: str = "") -> str:
    """A sentence for people that holds no address and no credentials.

    Args:
        error: the exception.
        only_trusted: the name of the setting or variable that names the only certificates to trust.
    """
    causes = [*_causes(error)]
    if (untrusted := certificate_error(error)) is not None:
        return f"TLS: the certificate is not trusted: {_certificate(untrusted, only_trusted)}"
    if any(isinstance(cause, ssl.SSLError) and _wants_ours(cause) for cause in causes):
        return "TLS: the server ended it; does it want a certificate of this client? See client_cert"
    if any(type(cause) in (http.client.BadStatusLine, http.client.UnknownProtocol) for cause in causes):
        return _NO_HTTP
    if any(type(cause) in (http.client.LineTooLong, http.client.HTTPException) for cause in causes):
        return _UNUSABLE
    further = next(filter(None, map(_further, causes)), "")
    if further.startswith(("TLS", "the proxy")):
        return further
    for kind in type(error).__mro__:  # the nearest class that is known gives the reason
        if reason := _REASONS.get(f"{kind.__module__}.{kind.__qualname__}"):
            return f"{reason}: {further}" if further and kind.__name__ in _WITH_FURTHER else reason
    return f"the request failed ({type(error).__name__})"


def _further(cause: BaseException) -> str:
    """The reason that one cause of an exception gives; empty if it gives none."""
    if isinstance(cause, ssl.SSLError):
        name = getattr(cause, "reason", None) or ""
        is_fixed = _NAME_OF_OPENSSL.fullmatch(name) is not None
        return f"TLS failed: {_TLS.get(name, f'OpenSSL says {name}')}" if is_fixed else ""
    if isinstance(cause, socket.gaierror):
        return "its name cannot be looked up"
    if isinstance(cause, _ENDED):
        return "it ended before an answer came; is a firewall or a proxy in between?"
    if isinstance(cause, OSError) and (refused := _REFUSED.match(str(cause))):
        remedy = "; give its user and password in proxy" if refused[1] == "407" else ""
        return f"the proxy refuses ({refused[1]}){remedy}"
    return ""


def _certificate(error: ssl.SSLCertVerificationError, only_trusted: str) -> str:
    code = getattr(error, "verify_code", 0)
    if code == _BY_ITSELF or code in _BY_A_STRANGER:
        signed = "it is signed by itself" if code == _BY_ITSELF else "it is signed by an unknown authority"
        if only_trusted:
            return f"{signed}; only the certificates that {only_trusted} names are trusted"
        if code == _BY_ITSELF:
            return f"{signed}; if that is intended, set ca_bundle"
        return f"{signed}; if it is your site's, add that to the system's store, or set ca_bundle"
    text = str(getattr(error, "verify_message", "")) if 0 < code < _MOST_CODE else ""
    return _CERTIFICATES.get(code) or (f"{text} (verify code {code})" if text else f"verify code {code}")


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
