"""The errors of the collector."""

from __future__ import annotations


class CollectorError(Exception):
    """The command cannot go on; the message says what to do."""


class RefusalError(Exception):
    """A request is refused.

    Args:
        status: the status code of the answer.
        reason: one sentence, without any value of the request.
        field: the name of the field that is wrong, with dots; empty if it is none.
    """

    def __init__(self, status: int, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.status, self.reason, self.field = status, reason, field
