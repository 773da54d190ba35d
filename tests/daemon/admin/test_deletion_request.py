"""The request for deletion is complete, and its link says the same as its text."""

from urllib.parse import parse_qs, urlsplit

from flwr_telemetryd.admin.forget import ADDRESS, request_for

ID = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1"


def test_the_request_mentions_the_id():
    """To Flower's address, with the ID where a person and a program look for it."""
    request = request_for(ID)
    assert request.to == ADDRESS == "telemetry@flower.dev"
    assert ID in request.subject
    assert ID in request.body.splitlines()


def test_the_link_says_the_same():
    """Whoever opens it has the whole mail, by RFC 6068."""
    request = request_for(ID)
    parts = urlsplit(request.mailto)
    assert (parts.scheme, parts.path) == ("mailto", ADDRESS)
    assert "+" not in parts.query
    assert " " not in parts.query
    fields = parse_qs(parts.query)
    assert fields == {"subject": [request.subject], "body": [request.body.replace("\n", "\r\n")]}
