"""Headers with a token, and a certificate: who may read them, and what is told of them."""

import functools
import os
import ssl

import pytest

from flwr_telemetry.settings import DEFAULT_URL, Settings
from flwr_telemetryd.delivery.credentials import Credentials, CredentialsError
from flwr_telemetryd.delivery.outcome import Delivered, Retry
from tests.daemon.delivery.conftest import BODY, KEY, YES, send, sink_for
from tests.support.collector import Answer
from tests.support.tls import TlsCollector

SECRET = "glsa_8f3Kq-quite/secret=="
TEXT = f'Authorization = "Bearer {SECRET}"\n"X-Scope-OrgID" = "tenant-7"\n'


@pytest.fixture
def headers_file(tmp_path):
    path = tmp_path / "headers.toml"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def credentials_for(path, **settings):
    return Credentials(Settings(YES, url="https://x.example/", headers_file=str(path), **settings))


def refusal(path):
    with pytest.raises(CredentialsError) as found:
        credentials_for(path).headers()
    return str(found.value)


def test_the_headers_are_sent_with_each_request(collector, headers_file):
    with sink_for(collector.url, headers_file=str(headers_file)) as sink:
        sink.reach()
        assert sink.send(KEY, BODY) == Delivered()
        headers_file.write_text('authorization = "Basic bmV3"\n')  # the token was changed
        assert sink.send(KEY, BODY) == Delivered()
    sent = [request.headers.get("authorization") for request in collector.requests]
    assert sent == [f"Bearer {SECRET}", f"Bearer {SECRET}", "Basic bmV3"]
    assert collector.requests[0].headers["x-scope-orgid"] == "tenant-7"


def test_the_file_may_stand_behind_a_link_and_in_the_home(headers_file, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(headers_file)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert credentials_for("~/link").headers()["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644])
def test_a_file_that_others_can_reach_is_refused(headers_file, mode):
    headers_file.chmod(mode)
    assert "can be read by others; chmod 600 it" in refusal(headers_file)


def test_a_missing_file_a_directory_a_fifo_and_a_file_of_another_user_are_told(headers_file, monkeypatch):
    assert "cannot be read: No such file" in refusal(headers_file.with_name("none"))
    assert "no plain file" in refusal(headers_file.parent)
    os.mkfifo(headers_file.with_name("fifo"), 0o600)
    assert "no plain file" in refusal(headers_file.with_name("fifo"))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "belongs to another user" in refusal(headers_file)


VALUES = [
    SECRET,
    f'"{SECRET}',
    f'["{SECRET}"]',
    f'"{SECRET}\\r\\nX: y"',
    f'"{SECRET} "',
    f'"ü{SECRET}"',
    '""',
]
NAMES = ["[Authorization]\ntoken", '"Author ization"', "Host", "content-length", f'A = "{SECRET}"\nA']
MALFORMED = [*(f"Authorization = {value}" for value in VALUES), *(f'{name} = "{SECRET}"' for name in NAMES)]
MALFORMED += [f'A = "{"x" * 70_000}{SECRET}"', f"\ud800{SECRET}", 'Authorization = ""']


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_file_is_told_without_a_value(headers_file, text):
    headers_file.write_bytes(text.encode(errors="surrogatepass"))
    told = refusal(headers_file)
    assert str(headers_file) in told
    assert SECRET not in told
    assert SECRET[:8] not in told


def test_what_cannot_be_used_is_a_retry(collector, headers_file):
    """The body is kept, and nothing is sent without the token."""
    headers_file.chmod(0o644)
    outcome = send(collector.url, headers_file=str(headers_file))
    assert isinstance(outcome, Retry)
    assert "headers_file" in outcome.reason
    assert collector.requests == []


@pytest.mark.parametrize("names", [("headers_file",), ("client_cert", "client_key")])
def test_flowers_collector_gets_none_of_it(headers_file, names):
    chosen = Settings(YES, url=DEFAULT_URL, **dict.fromkeys(names, str(headers_file)))
    with pytest.raises(CredentialsError, match="set its url"):
        Credentials(chosen).headers()


def test_an_answer_that_quotes_the_token_is_told_without_it(collector, headers_file):
    collector.answer_with(Answer(422, body=f"bad token {SECRET} of Bearer {SECRET}".encode()))
    outcome = send(collector.url, headers_file=str(headers_file))
    assert outcome.reason == "the collector answered 422: bad token <header> of <header>"


@pytest.fixture
def asking(authority, bundle):
    """Give a function that sends to a collector that wants a certificate of its clients."""
    with TlsCollector(authority.issue_cert("127.0.0.1")) as collector:
        authority.configure_trust(collector._context)
        collector._context.verify_mode = ssl.CERT_REQUIRED
        yield functools.partial(send, collector.url, ca_bundle=bundle)


def test_a_certificate_is_shown_and_told_if_it_is_missing_or_cannot_be_used(asking, authority, tmp_path):
    own = authority.issue_cert("client.example")
    pems = [own.cert_chain_pems[0], own.private_key_pem, own.private_key_and_cert_chain_pem]
    pems.append(authority.issue_cert("x.example").private_key_pem)
    cert, key, both, other = (str(tmp_path / f"{number}.pem") for number in range(4))
    for pem, path in zip(pems, (cert, key, both, other), strict=True):
        pem.write_to_path(path)
    assert asking(client_cert=cert, client_key=key) == asking(client_cert=both) == Delivered()
    for files, words in (
        ({}, "client_cert"),
        ({"client_cert": cert, "client_key": other}, "no certificate and its key"),
        ({"client_cert": str(tmp_path / "none"), "client_key": key}, "No such file"),
        ({"client_key": key}, "needs client_cert"),
    ):
        outcome = asking(**files)
        assert isinstance(outcome, Retry)
        assert words in outcome.reason
