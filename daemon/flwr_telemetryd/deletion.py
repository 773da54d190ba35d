"""The request to delete what was reported under a source ID, ready to send. Pure.

The address and what the request has to mention are those of Flower's page on telemetry. Nothing here
sends it: it comes from the user's own mail, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

ADDRESS = "telemetry@flower.dev"


@dataclass(frozen=True, slots=True)
class Request:
    """A mail.

    Attributes:
        to: the address.
        subject: one line.
        body: the text.
        mailto: all of it as a URL, which opens in a mail program.
    """

    to: str
    subject: str
    body: str
    mailto: str


def request_for(source_id: str) -> Request:
    """The request for a source ID."""
    subject = f"Deletion request for source ID {source_id}"
    body = (
        "Hello,\n\nplease delete all events that were logged under this source ID of Flower's "
        f"telemetry:\n\n{source_id}\n\nThank you."
    )
    # RFC 6068: line breaks are CRLF, and everything but unreserved characters is percent-encoded.
    mailto = (
        f"mailto:{ADDRESS}?subject={quote(subject)}&body={quote(body.replace(chr(10), chr(13) + chr(10)))}"
    )
    return Request(ADDRESS, subject, body, mailto)
