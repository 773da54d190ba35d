"""The way to the collector: proxies, certificates and limits, by the settings and else the environment."""

import os
import socket

import pytest

from flwr_telemetry.settings import Consent, Settings
from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.delivery.http import HttpSink
from flwr_telemetryd.delivery.outcome import Delivered, Retry

YES = Consent(enabled=True, decided_by="default", reason="")
BODY, KEY = b'{"event_type":"PING"}', "0" * 64
SECRET = "quite-secret"


def sink_for(url, environ=None, **settings):
    """Give a sink with limits that a busy machine keeps."""
    limits = Limits(connect_timeout_s=30, request_deadline_s=30)
    return HttpSink(
        Settings(consent=YES, **{"url": url, "limits": limits, **settings}),
        dict(os.environ) if environ is None else environ,
    )


def send(url, environ=None, **settings):
    """Send one body through a sink of its own."""
    sink = sink_for(url, environ, **settings)
    try:
        return sink.send(KEY, BODY)
    finally:
        sink.close()


@pytest.fixture
def deaf():
    """Give the port of somebody who hears nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


PROXIES = [
    "http://u:{}@127.0.0.1:{}",
    "u:{}@127.0.0.1:{}",
    "socks5://u:{}@127.0.0.1:{}",
    "ftp://u:{}@127.0.0.1:{}",
]


@pytest.mark.parametrize("form", PROXIES)
@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "https://collector.invalid/x"])
def test_a_proxys_password_is_in_no_word(deaf, url, form):
    """Whatever is wrong with the proxy, the reason does not quote it."""
    outcome = send(url, proxy=form.format(SECRET, deaf))
    assert isinstance(outcome, Retry)
    assert SECRET not in outcome.reason
    assert "127.0.0.1" not in outcome.reason


@pytest.mark.parametrize(
    "proxy",
    ["http://[", "http://:99999", "://", "\0", "http://x:y", "http://u:p@"],
)
def test_a_proxy_that_is_no_url(proxy):
    """Garbage in the settings is a Retry, never an exception."""
    assert isinstance(send("http://127.0.0.1:9/", proxy=proxy), Retry)


def test_a_proxy_that_refuses(collector):
    """A portal's 407 or 403 says nothing about the body."""
    collector.answer_with(407, 403)
    for _ in range(2):
        outcome = send("https://collector.invalid/x", proxy=f"http://u:{SECRET}@127.0.0.1:{collector.port}")
        assert outcome == Retry("the proxy cannot be reached or refuses")
    assert [request.method for request in collector.requests] == ["CONNECT"] * 2


def test_the_settings_proxy_is_used(collector, monkeypatch, deaf):
    """It wins over the environment's, which is used where the settings name none."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{deaf}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{deaf}")
    proxy = f"http://127.0.0.1:{collector.port}"
    assert send("http://collector.invalid/x", proxy=proxy) == Delivered()
    assert isinstance(send("http://collector.invalid/x"), Retry)
    monkeypatch.setenv("http_proxy", proxy)
    assert send("http://collector.invalid/x") == Delivered()
    assert [request.path for request in collector.requests] == ["http://collector.invalid/x"] * 2


def test_loopback_is_reached_as_no_proxy_says(collector, monkeypatch, deaf):
    """What the environment exempts goes straight."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{deaf}")
    assert isinstance(send(collector.url), Retry)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert send(collector.url) == Delivered()


@pytest.mark.parametrize(
    ("environ", "setting", "chosen"),
    [
        ({}, None, True),
        ({"SSL_CERT_FILE": "/s"}, None, "/s"),
        ({"SSL_CERT_FILE": "/s", "CURL_CA_BUNDLE": "/c"}, None, "/c"),
        ({"SSL_CERT_FILE": "/s", "CURL_CA_BUNDLE": "/c", "REQUESTS_CA_BUNDLE": "/r"}, None, "/r"),
        ({"REQUESTS_CA_BUNDLE": "/r"}, "/mine", "/mine"),
        ({"REQUESTS_CA_BUNDLE": ""}, None, True),
    ],
)
def test_certificates(environ, setting, chosen):
    """The settings' bundle, the environment's, or the built-in one; verification is never off."""
    sink = sink_for("https://collector.invalid/", environ, ca_bundle=setting)
    assert sink._session.verify == chosen
    sink.close()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_is_none(tmp_path, collector, content):
    """A missing or broken file of certificates is a Retry, not an exception and no way around."""
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    outcome = send(collector.url.replace("http://", "https://"), ca_bundle=str(bundle))
    assert isinstance(outcome, Retry)
    assert ("ca_bundle" if content is None else "TLS") in outcome.reason
    assert collector.requests == []


def test_no_tls_is_spoken_there(collector):
    """Https to somebody who speaks plain HTTP is a Retry that says so."""
    outcome = send(collector.url.replace("http://", "https://"))
    assert isinstance(outcome, Retry)
    assert "TLS" in outcome.reason or "connection" in outcome.reason


def test_nobody_is_there(deaf):
    """A closed port and an unknown name are words without an address."""
    for url in (f"http://127.0.0.1:{deaf}/", "http://collector.invalid/"):
        assert send(url) == Retry("no connection to the collector")


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        (Limits(connect_timeout_s=0), Delivered),
        (Limits(connect_timeout_s=0.5, request_deadline_s=3600), Delivered),
        (Limits(connect_timeout_s=1e9, request_deadline_s=1e9), Delivered),
    ],
)
def test_the_ends_of_the_limits(collector, limits, outcome):
    """0 and very large numbers are allowed, and nothing is raised."""
    assert isinstance(send(collector.url, limits=limits), outcome)
