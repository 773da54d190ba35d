"""The request to delete what a collector has received of a source ID: a mail, or a text for a page. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from flwr_telemetry.settings import DEFAULT_URL, Settings

ADDRESS = "telemetry@flower.ai"
"""The address for deletion requests, from Flower's page on telemetry since February 2024."""


@dataclass(frozen=True, slots=True)
class DeletionRequest:
    """A message that asks for the deletion of what a collector has received."""

    to: str
    """The mail address, or an https URL."""
    subject: str
    """One line."""
    body: str
    """The text."""
    mailto: str
    """The whole mail as a URL, which opens in a mail program; the https URL if ``to`` is one."""


def is_flowers(url: str) -> bool:
    """Whether a collector is Flower's own, and not that of an organisation."""
    return urlsplit(url).hostname == urlsplit(DEFAULT_URL).hostname


def deletion_request(source_id: str, chosen: Settings) -> DeletionRequest:
    """The request to delete all events of a source ID.

    Args:
        source_id: the ID.
        chosen: the settings; ``deletion_contact`` counts if ``url`` is an organisation's own.
    """
    to = ADDRESS if is_flowers(chosen.url) else chosen.deletion_contact or ADDRESS
    subject = f"Deletion request for source ID {source_id}"
    body = (
        "Hello,\n\nplease delete all events that were logged under this source ID of Flower's "
        f"telemetry:\n\n{source_id}\n\nThank you."
    )
    if "@" not in to.partition("/")[0]:
        return DeletionRequest(to, subject, body, to)
    # RFC 6068: line breaks are CRLF, and everything but unreserved characters is percent-encoded.
    text = quote(body.replace("\n", "\r\n"))
    mailto = f"mailto:{quote(to, safe='@')}?subject={quote(subject)}&body={text}"
    return DeletionRequest(to, subject, body, mailto)
