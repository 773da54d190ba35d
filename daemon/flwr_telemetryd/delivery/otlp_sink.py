"""A collector that speaks OTLP over HTTP: bodies go out as log records, one part a request.

A body is delivered once the collector has decided on all its parts. The memory of what it has decided on may
be lost at any moment: then all parts are sent again, with the same bytes.

    2xx                                delivered; records that the collector says it rejected count as refused
    400, 413 of several records        each half of them is sent alone
    400, 413 of one record, 415, 422   refused
    401, 403, 404, 407, 500            kept, because a person has to repair something; a long wait at once
    all others                         tried again, after ``Retry-After`` if there is one

An answer of 500 or 404 says nothing about the records: a wrong token or address must not cost data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from flwr_telemetry.named import Any
from flwr_telemetry.settings import DEFAULT_URL, Settings

from ..burst import codec
from ..outbox.body import key_of
from ..outbox.pieces import Refusal
from . import otlp
from .http import Answered, HttpSink
from .outcome import Delivered, Outcome, PartSent, Refused, Retry
from .responses import retry_after_s, with_text

EMPTY = b'{"resourceLogs":[]}'
"""A request without a record, to which a collector has to answer with success."""

_TOO_MANY = {400, 413}
"""Answers that may concern one record of several, or their size."""
_REFUSALS = {415, 422}
_NEED_REPAIR = {
    401: "it wants other credentials; see headers_file",
    403: "it does not permit this; see headers_file",
    404: "is the path of url right, for example /v1/logs?",
    407: "the proxy wants a user and a password; see proxy",
    500: "it has a fault",
}
_MOST_UNDERWAY = 8
"""Of so many bodies it is known which parts are settled, while others come first."""
_NO_URL = 'format = "otlp" needs the url of your own collector; run `flwr-telemetry config set url URL`'


@dataclass(slots=True)
class _Underway:
    """A body of which some parts may be settled."""

    unread: Iterator[otlp.Part] | None = None
    """The parts that are not made yet; None if they have to be made again."""
    waiting: list[otlp.Part] = field(default_factory=list)
    """Parts to send first, the next one at the end."""
    end: int = 0
    """How many events are in parts that were made."""
    refusals: list[Refusal] = field(default_factory=list)

    def next_part(self, key: str, body: bytes) -> otlp.Part | None:
        """The part to send; None if all are settled."""
        if not self.waiting:
            if self.unread is None:
                self.unread = otlp.parts(body, key, skipped=self.end)
            if (part := next(self.unread, None)) is None:
                return None
            self.waiting.append(part)
            self.end = part.first + len(part.records)
        return self.waiting[-1]


class OtlpSink(HttpSink):
    """POSTs bodies to one URL, as OTLP.

    Args:
        settings: as for ``HttpSink``.
        environ: as for ``HttpSink``.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        super().__init__(settings, environ)
        self._compression = settings.compression or "gzip"
        self._underway: dict[str, _Underway] = {}

    def send(self, key: str, body: bytes) -> Outcome:
        """Send the next part of a body."""
        if self._url == DEFAULT_URL:
            return Retry(_NO_URL, needs_repair=True)
        underway = self._underway.pop(key, None) or _Underway()
        try:
            outcome = self._send_part(underway, key, body)
        except codec.NotABodyError as error:
            return Refused(f"the body cannot be sent as OTLP ({error})")
        if not isinstance(outcome, Delivered):
            while len(self._underway) >= _MOST_UNDERWAY:
                del self._underway[next(iter(self._underway))]
            self._underway[key] = underway
        return outcome

    def _send_part(self, underway: _Underway, key: str, body: bytes) -> Outcome:
        part = underway.next_part(key, body)
        if part is None:
            return Delivered()
        data = part.data
        answered = self._within_deadline(lambda: self._exchange(key_of(data), data))
        if isinstance(answered, Answered):
            if (retry := self._settle(underway, part, answered)) is None:
                is_last = underway.next_part(key, body) is None
                return Delivered(answered.status, tuple(underway.refusals)) if is_last else PartSent()
            answered = retry
        underway.unread = None  # it holds all events of the body
        return answered

    def probe(self) -> Answered | Retry:
        """Send a request without a record; the answer, whatever it is."""
        return self._within_deadline(lambda: self._exchange(key_of(EMPTY), EMPTY))

    def _settle(self, underway: _Underway, part: otlp.Part, answered: Answered) -> Retry | None:
        """Note what an answer means for a part; a part that is to be tried again stays the next one."""
        status, events = answered.status, len(part.records)
        answer = f"the collector answered {status}"
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            refused, message = rejected(answered.text)
            if refused:
                refused = min(refused, events)
                reason = with_text(f"the collector refused {refused} of {events}", self._scrubbed(message))
                underway.refusals.append(Refusal(part.first, events, refused, reason))
        elif status in _TOO_MANY and events > 1:
            underway.waiting[-1:] = reversed(part.halves())
            return None
        elif status in _TOO_MANY | _REFUSALS:
            underway.refusals.append(Refusal(part.first, events, events, with_text(answer, answered.text)))
        elif status in _NEED_REPAIR:
            return Retry(f"{answer}: {_NEED_REPAIR[status]}", needs_repair=True)
        else:
            return Retry(answer, retry_after_s(answered.headers.get("Retry-After"), datetime.now(UTC)))
        underway.waiting.pop()
        return None


def rejected(text: str) -> tuple[int, str]:
    """How many records the collector rejected by an answer of success, and its message; 0 if none.

    An answer that is no JSON, or has another form than OTLP's, tells of none.
    """
    try:
        partial = _either(json.loads(text), "partialSuccess", "partial_success")
        told = _either(partial, "rejectedLogRecords", "rejected_log_records")
        count = 0 if isinstance(told, bool) else int(told)
        message = _either(partial, "errorMessage", "error_message")
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return 0, ""
    return max(count, 0), message if isinstance(message, str) else ""


def _either(message: dict[str, Any], name: str, proto_name: str) -> Any:
    """A field of a message, by its name in JSON or in the protocol; raises TypeError if it is no message."""
    if not isinstance(message, dict):
        raise TypeError
    return message.get(name, message.get(proto_name, 0))
