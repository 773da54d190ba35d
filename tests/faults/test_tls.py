"""TLS on loopback, by real handshakes: trust, and the messages where it fails."""

import contextlib
import json
import socket
import ssl
import threading
import warnings
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from tests.support import homes, processes, records, wire
from tests.support.collector import Collector
from tests.support.tls import TlsCollector

PAST = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def good(authority):
    return authority.issue_cert("127.0.0.1")


@pytest.fixture
def bundle(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def server(good):
    with TlsCollector(good) as running:
        yield running


def spool(home, url, **settings):
    homes.configure(home, url, **settings)
    homes.put(home, records.series(2))


def last_error(zygote, home):
    """Give the error of this host's last request by `status`."""
    (host,) = zygote.status(home)["hosts"]
    assert (host["outbox"]["bodies"], host["outbox"]["events"]) == (1, 2)
    assert host["counters"]["retried"] >= 1
    return host["last_error"]


@pytest.mark.parametrize("place", ["ca_bundle", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_who_is_trusted_gets_the_body(zygote, home, server, bundle, place):
    """By the settings, or by the environment where they leave it open."""
    spool(home, server.url, **({"ca_bundle": bundle} if place == "ca_bundle" else {}))
    done = zygote.once(home, None if place == "ca_bundle" else {place: bundle})
    assert done.returncode == 0, done.said
    assert wire.serials(server.events()) == [0, 1]


CERTIFICATES = {
    "of a stranger": lambda _: trustme.CA().issue_cert("127.0.0.1"),
    "expired": lambda ca: ca.issue_cert("127.0.0.1", not_before=PAST - timedelta(days=1), not_after=PAST),
    "not yet valid": lambda ca: ca.issue_cert("127.0.0.1", not_before=PAST + timedelta(days=2)),
    "for another host": lambda ca: ca.issue_cert("collector.invalid", "127.0.0.2"),
    "trusted by the environment alone": lambda ca: ca.issue_cert("127.0.0.1"),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_who_is_not_trusted_gets_nothing(zygote, home, authority, good, bundle, kind, tmp_path):
    """The body is kept, `status` names the certificate, and a good one gets it under the same key."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with TlsCollector(CERTIFICATES[kind](authority)) as server:
        spool(home, server.url, ca_bundle=bundle if "environment" not in kind else str(other))
        assert zygote.once(home, {"REQUESTS_CA_BUNDLE": bundle}).returncode == 1
        (body,) = homes.waiting(home)
        error = last_error(zygote, home)
        assert "TLS" in error
        assert "certificate" in error
        assert server.requests == []
        server.show(good)
        homes.configure(home, server.url, ca_bundle=bundle)
        assert zygote.once(home).returncode == 0
        assert list(server.accepted) == [body.stem]
        assert wire.serials(server.events()) == [0, 1]
        assert not zygote.status(home)["hosts"][0]["last_error"]


NO_VERIFICATION = [
    {"REQUESTS_CA_BUNDLE": ""},
    {"CURL_CA_BUNDLE": ""},
    {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", "SSL_CERT_FILE": "", "SSL_CERT_DIR": ""},
    {"REQUESTS_CA_BUNDLE": "false", "CURL_CA_BUNDLE": "False"},
    {"REQUESTS_CA_BUNDLE": "0"},
    {"PYTHONHTTPSVERIFY": "0", "SSL_NO_VERIFY": "1", "NODE_TLS_REJECT_UNAUTHORIZED": "0"},
]


@pytest.mark.parametrize("env", NO_VERIFICATION, ids=" ".join)
def test_verification_is_never_off(zygote, home, server, env):
    """Variables that switch it off in other programs change nothing."""
    spool(home, server.url)
    assert zygote.once(home, env).returncode == 1
    assert len(homes.waiting(home)) == 1
    assert server.requests == []


@pytest.mark.parametrize(
    "answer",
    [b"\x16\x03\x03", b"\x15\x03\x03\x00\x02\x02\x28", b"\0" * 5, b"HTTP/1.1 400 No\r\n\r\n"],
)
def test_a_handshake_that_breaks_off(zygote, home, answer):
    """Half a record, an alert, garbage or plain HTTP: the body is kept, and the error names TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        spool(home, f"https://127.0.0.1:{listener.getsockname()[1]}/x")
        listener.settimeout(5)
        received = []

        def serve():
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert zygote.once(home).returncode == 1
        thread.join()
    assert received[0].startswith(b"\x16\x03")  # nothing in the clear
    assert "TLS" in last_error(zygote, home)


def test_a_handshake_that_never_ends(zygote, home):
    """A server that accepts and sends nothing costs no longer than the deadline; the body is kept."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/x"
        spool(home, url, request_deadline_s=0.3, connect_timeout_s=60)
        assert zygote.once(home).returncode == 1
        error = last_error(zygote, home)
    assert "request_deadline_s" in error or "in time" in error


def old_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("expired", "it has expired, or this machine's clock is wrong"),
        ("not yet valid", "it is not valid yet; is this machine's clock right?"),
        ("for another host", "it belongs to another address"),
        ("of a stranger", "an unknown authority; only the certificates that ca_bundle names are trusted"),
        ("old", "no version of TLS in common"),
        ("plain", "speaks no TLS"),
    ],
)
def test_each_fault_of_tls_has_its_own_words(zygote, home, authority, good, bundle, kind, told):
    """In `status` and in `doctor` alike, whose sentence ends with them or goes on with what to do."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            Collector()
            if kind == "plain"
            else TlsCollector(CERTIFICATES.get(kind, lambda _: good)(authority))
        )
        if kind == "old":
            server.serve_by(old_context(good))
        spool(home, server.url.replace("http:", "https:"), ca_bundle=bundle)
        assert zygote.once(home).returncode == 1
        error = last_error(zygote, home)
        doctor = json.loads(processes.command(home, "doctor", "--json").stdout)
    assert error.endswith(told) or f"{told};" in error
    assert any(error in check["found"] for check in doctor["checks"])
