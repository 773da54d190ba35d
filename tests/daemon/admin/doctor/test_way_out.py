"""The way out, as the doctor sees it: every address is loopback's, and nothing is sent but a HEAD."""

import importlib.util
import os
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from unittest import mock

import pytest
import trustme

from flwr_telemetry.settings import Consent, Settings
from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.admin.doctor import Verdict, way_out
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery import http

YES = Consent(enabled=True, decided_by="default", reason="")
SECRET = "quite-secret"


def checks(url, environ=None, **more):
    return {
        check.name: check for check in way_out.check(Settings(YES, url=url, **more), environ or {}, Clock())
    }


@pytest.mark.parametrize(
    ("date", "verdict"),
    [
        *((date, Verdict.OK) for date in ("", "soon", "Wed, 99 Nov 2026 10:00:00 GMT")),
        (timedelta(minutes=2), Verdict.OK),
        (timedelta(minutes=20), Verdict.NOTE),
        (timedelta(hours=-3), Verdict.FAULT),
    ],
)
def test_a_clock_that_goes_wrong_shows_by_the_answers_date(collector, date, verdict, monkeypatch):
    text = date if isinstance(date, str) else format_datetime(datetime.now(UTC) - date, usegmt=True)
    monkeypatch.setattr(http.HttpSink, "reach", lambda _self: http.Reached(405, text))
    found = checks(collector.url)["collector"]
    assert found.verdict is verdict
    assert verdict is Verdict.OK or "NTP" in found.advice


@pytest.mark.parametrize("by", ["settings", "environment"])
def test_a_proxy_is_named_without_its_credentials(collector, by):
    proxy = f"http://alice:{SECRET}@127.0.0.1:{collector.port}"
    url = "https://telemetry.example/api"
    found = checks(url, proxy=proxy) if by == "settings" else checks(url, {"https_proxy": proxy})
    assert found["proxy"].verdict is (Verdict.OK if by == "settings" else Verdict.NOTE)
    assert f"127.0.0.1:{collector.port}" in found["proxy"].found
    assert "name" not in found
    assert found["collector"].verdict is Verdict.FAULT
    assert SECRET not in "".join(check.found + check.advice for check in found.values())
    assert {request.method for request in collector.requests} == {"CONNECT"}


NO_PROXIES = [f"http://alice:{way}@127.0.0.1:1" for way in ("12/quite-secret", "12#quite-secret", "secret/x")]
NO_PROXIES += ["alice:p//quite-secret@127.0.0.1", "http://[::1", "http://"]
NO_PROXIES += ["http://127.0.0.1:notaport", "http://127.0.0.1:99999"]


@pytest.mark.parametrize("proxy", NO_PROXIES)
def test_a_proxy_that_is_none_is_a_fault_and_is_not_shown(proxy):
    """Any part of it may be a password."""
    for found in (
        checks("https://telemetry.example/", proxy=proxy),
        checks("https://telemetry.example/", {"https_proxy": proxy}),
    ):
        assert list(found) == ["proxy"]
        assert found["proxy"].verdict is Verdict.FAULT
        assert not any(word in found["proxy"].found for word in ("alice", "12", "secret"))


@pytest.mark.parametrize("proxy", ["socks5h://alice:quite-secret@127.0.0.1:1", "socks://127.0.0.1:1"])
def test_a_socks_proxy_that_cannot_be_used_is_a_fault(proxy, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    (found,) = checks("https://telemetry.example/", {"all_proxy": proxy}).values()
    assert found.verdict is Verdict.FAULT
    assert "SOCKS" in found.found
    assert "all_proxy" in found.advice
    assert SECRET not in found.found + found.advice


def test_a_collector_on_this_machine_needs_no_proxy(collector):
    found = checks(collector.url, {"http_proxy": "socks://nowhere"}, proxy="socks://nowhere")
    assert found["proxy"].verdict is Verdict.OK
    assert "this machine" in found["proxy"].found
    assert found["collector"].verdict is Verdict.OK


def test_the_certificates_in_force_are_named_with_their_origin(tmp_path):
    url, bundle = "https://127.0.0.1:9/", str(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(bundle)

    def told(environ, **settings):
        check = checks(url, environ, **settings)["certificates"]
        return check.verdict, check.found

    verdict, text = told({"SSL_CERT_FILE": "/of/the/site", "SSL_CERT_DIR": "/:/two"})
    assert verdict is Verdict.OK
    assert "/of/the/site (SSL_CERT_FILE, which cannot be read) and /:/two (SSL_CERT_DIR)" in text
    assert "certifi" in text
    verdict, text = told({"SSL_CERT_FILE": "/of/the/site"}, ca_bundle=bundle)
    assert (verdict, text) == (Verdict.OK, f"only those in {bundle}, by the settings")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        verdict, text = told({name: bundle})
        assert verdict is Verdict.NOTE
        assert f"only those in {bundle}, by {name}" in text


@pytest.mark.parametrize("by", ["ca_bundle", "REQUESTS_CA_BUNDLE"])
def test_certificates_that_cannot_be_read_are_a_fault(by):
    settings = {"ca_bundle": "/none"} if by == "ca_bundle" else {}
    found = checks("https://127.0.0.1:9/", {} if settings else {by: "/none"}, **settings)
    assert "collector" not in found
    assert found["certificates"].verdict is Verdict.FAULT
    assert by in found["certificates"].found
    assert "ca_bundle" in found["certificates"].advice


OK, NOTE, FAULT = Verdict.OK, Verdict.NOTE, Verdict.FAULT


@pytest.mark.parametrize(
    ("status", "verdict"), {200: OK, 405: OK, 302: NOTE, 403: NOTE, 503: NOTE, 407: FAULT}.items()
)
def test_what_is_answered_is_told(collector, status, verdict):
    collector.answer_by(lambda _request: status)
    assert checks(collector.url)["collector"].verdict is verdict


def test_an_answer_that_never_comes_is_a_fault(collector):
    collector.answer_by(lambda _request: "hang")
    found = checks(collector.url, limits=Limits(request_deadline_s=0.2))["collector"]
    assert (found.verdict, "request_deadline_s" in found.found) == (FAULT, True)


def test_a_name_that_nobody_knows(monkeypatch):
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "getaddrinfo", mock.Mock(side_effect=unknown))
    found = checks("https://telemetry.example/api")
    assert found["name"].verdict is Verdict.FAULT
    assert "telemetry.example" in found["name"].found
    assert "collector" not in found


def test_a_file_takes_the_collectors_place(tmp_path):
    def verdict(path):
        return checks(path.as_uri())["collector"].verdict

    path = tmp_path / "a b.jsonl"
    assert (verdict(path), path.exists()) == (Verdict.OK, False)
    path.write_text("")
    assert verdict(path) is Verdict.OK
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    path.chmod(0o666)
    for name in ("none/a.jsonl", "", "link", "fifo", path.name):
        assert verdict(tmp_path / name) is Verdict.FAULT
