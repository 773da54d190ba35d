"""Which certificates are trusted: by real handshakes, with a system's store of the test's own."""

import os
import ssl
import subprocess

import certifi
import pytest
import trustme

from flwr_telemetryd.delivery import trust
from flwr_telemetryd.delivery.outcome import Delivered, Retry
from flwr_telemetryd.delivery.trust import Trust
from tests.daemon.delivery.conftest import BODY, KEY, send, sink_for
from tests.support.tls import TlsCollector, TrustStore


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """A few authorities: the file of each, and a directory as ``openssl rehash`` makes it."""
    made = {}
    for name in ("site", "other"):
        authority = trustme.CA()
        directory = tmp_path_factory.mktemp(name)
        file = directory / "root.pem"
        authority.cert_pem.write_to_path(file)
        hashed = subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", file], capture_output=True, text=True, check=True
        )
        (directory / f"{hashed.stdout.strip()}.0").symlink_to(file)
        made[name] = authority, file, directory
    return made


@pytest.fixture
def server(authorities):
    with TlsCollector(authorities["site"][0].issue_cert("127.0.0.1")) as running:
        yield running


def sent(url, environ, monkeypatch, **settings):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return send(url, **settings)


FILE = "SSL_CERT_FILE={site[1]} SSL_CERT_DIR=/none"
DIRECTORY = "SSL_CERT_DIR={site[2]}"
CERTIFI = "SSL_CERT_FILE={other[1]} CERTIFI={site[1]}"
PLACES = [
    *(FILE, DIRECTORY, CERTIFI),
    "SSL_CERT_DIR=/none:{other[2]}:{site[2]}",
    "SSL_CERT_FILE={other[1]} SSL_CERT_DIR={site[2]}",
    "SSL_CERT_FILE=/none SSL_CERT_DIR={site[2]}",
    "SSL_CERT_DIR={other[2]} CERTIFI={site[1]}",
    "SSL_CERT_FILE=/none SSL_CERT_DIR=/none CERTIFI={site[1]}",
    "REQUESTS_CA_BUNDLE={site[1]}",
    "REQUESTS_CA_BUNDLE={site[2]}",
    "CURL_CA_BUNDLE={site[1]} REQUESTS_CA_BUNDLE=",
]
EXCLUSIVE = ["REQUESTS_CA_BUNDLE={other[1]} CURL_CA_BUNDLE={site[1]}", "CURL_CA_BUNDLE={other[1]}"]


def environment(place, authorities, monkeypatch):
    """The variables of a place; ``CERTIFI`` stands for certifi's own file."""
    environ = dict(item.split("=") for item in place.format(**authorities).split(" "))
    if certificates := environ.pop("CERTIFI", None):
        monkeypatch.setattr(certifi, "where", lambda: certificates)
    return environ


@pytest.mark.parametrize("place", PLACES)
def test_the_default_context_is_trusted_and_certifi(server, authorities, monkeypatch, place):
    environ = environment(place, authorities, monkeypatch)
    assert sent(server.url, environ, monkeypatch) == Delivered()


def test_the_file_of_the_default_context_is_trusted_beside_its_directory(server, authorities, monkeypatch):
    """As on Debian, where a server with a usual certificate needs the directory alone."""
    monkeypatch.setattr(trust, "_directory", lambda: str(authorities["other"][2]))
    assert sent(server.url, {"SSL_CERT_FILE": str(authorities["site"][1])}, monkeypatch) == Delivered()


def test_a_context_that_counts_no_certificates_is_used(server, authorities, monkeypatch):
    """The package truststore puts such a one in the place of Python's, in some companies on every machine."""
    monkeypatch.setattr(ssl, "SSLContext", TrustStore)
    assert sent(server.url, {"SSL_CERT_FILE": str(authorities["site"][1])}, monkeypatch) == Delivered()
    environ = environment(CERTIFI, authorities, monkeypatch)
    assert sent(server.url, environ, monkeypatch) == Delivered()


@pytest.mark.parametrize("place", EXCLUSIVE)
def test_a_bundle_is_exclusive(server, authorities, monkeypatch, place):
    environ = environment(f"{place} SSL_CERT_FILE={{site[1]}}", authorities, monkeypatch)
    outcome = sent(server.url, environ, monkeypatch)
    assert isinstance(outcome, Retry)
    assert f"only the certificates that {next(iter(environ))} names" in outcome.reason
    assert isinstance(sent(server.url, environ, monkeypatch, ca_bundle=str(authorities["other"][1])), Retry)
    assert sent(server.url, environ, monkeypatch, ca_bundle=str(authorities["site"][1])) == Delivered()


def test_a_store_that_learns_the_authority_later_is_read_again(server, authorities, monkeypatch, tmp_path):
    """A service lives for months; its site may add its authority meanwhile."""
    store = tmp_path / "store.pem"
    store.write_bytes(authorities["other"][1].read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    with sink_for(server.url) as sink:
        assert isinstance(sink.send(KEY, BODY), Retry)
        store.write_bytes(authorities["site"][1].read_bytes())
        assert sink.send(KEY, BODY) == Delivered()


@pytest.mark.parametrize("place", [FILE, DIRECTORY])
def test_the_context_is_made_once_and_files_are_read_only_if_needed(server, authorities, monkeypatch, place):
    """Each file takes 20 ms, which is much for a sidecar that sends one body."""
    made = []
    monkeypatch.setattr(trust, "add_rest", made.append)
    monkeypatch.setattr(
        Trust, "context", lambda self, make=Trust.context: made.append(make(self)) or made[-1]
    )
    server.answer_by(lambda _request: 503)  # each request has a fresh connection
    for name, value in environment(place, authorities, monkeypatch).items():
        monkeypatch.setenv(name, value)
    with sink_for(server.url) as sink:
        assert made == []
        assert [type(sink.send(KEY, BODY)) for _ in range(3)] == [Retry] * 3
    assert (len(made), server.connections) == (1, 3)
    assert made[0].cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize(("name", "why"), [("quite-secret", "no certificate"), ("none", "cannot be read")])
def test_a_bundle_that_cannot_be_used_is_told_by_its_name(server, tmp_path, monkeypatch, name, why):
    (tmp_path / "quite-secret").write_text("nothing")
    outcome = sent(server.url, {"CURL_CA_BUNDLE": str(tmp_path / name)}, monkeypatch)
    assert isinstance(outcome, Retry)
    assert all(words in outcome.reason for words in ("TLS", "CURL_CA_BUNDLE", why))
    assert str(tmp_path) not in outcome.reason
    assert server.requests == []


def test_a_bundle_that_is_a_fifo_holds_nobody(tmp_path, monkeypatch):
    """OpenSSL would wait for somebody who writes into it."""
    os.mkfifo(tmp_path / "fifo")
    for place in (str(tmp_path / "fifo"), "/dev/zero"):
        with pytest.raises(trust.BundleError, match="ca_bundle names neither a plain file nor a directory"):
            Trust("ca_bundle", place).context()
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            with monkeypatch.context() as patch:
                patch.setenv(name, place)
                with pytest.raises(trust.BundleError, match=f"{name} names neither"):
                    Trust().context()
