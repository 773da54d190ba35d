"""Nothing that lets anybody in leaves this machine unasked, or stays behind in a file of ours."""

import base64

import pytest

from tests.support import homes, ports, records, wire
from tests.support.collector import Answer

SECRET = "correct-horse-battery"
FORMS = (SECRET, base64.b64encode(f"user:{SECRET}".encode()).decode())


@pytest.mark.parametrize("way", ["direct", "proxy"])
def test_no_netrc_is_used(zygote, home, tmp_path, collector, way):
    """Tried with ~/.netrc and with NETRC, also after the collector asked for a password."""
    for name in ("home/.netrc", "netrc"):
        (tmp_path / name).write_text(f"default login user password {SECRET}\n")
        (tmp_path / name).chmod(0o600)
    if way == "proxy":  # the collector answers in the place of the other
        homes.configure(home, "http://collector.invalid/x", proxy=collector.url, plaintext=True)
    homes.put(home, records.series(2))
    collector.answer_with(Answer(401, {"WWW-Authenticate": 'Basic realm="x"'}))
    for _ in range(2):
        zygote.once(home, {"NETRC": str(tmp_path / "netrc")})
    assert wire.serials(collector.events()) == [0, 1]
    assert len(collector.requests) == 2
    assert all("authorization" not in request.headers for request in collector.requests)


def test_no_cookie_is_kept(zygote, home, collector):
    """A collector cannot mark a sidecar: no cookie comes back from this sidecar or the next, or stays."""
    homes.configure(home, collector.url, bursts=False)
    collector.answer_by(lambda _request: Answer(200, {"Set-Cookie": f"id={SECRET}; Max-Age=99999"}))
    for start in (0, 3):
        homes.put(home, records.series(3, start=start))
        zygote.once(home)
    assert len(collector.requests) == 6
    assert all("cookie" not in request.headers for request in collector.requests)
    assert _holders(home) == []


@pytest.fixture(params=["down", "407", "hangs", "works"])
def proxy(request, collector):
    reply = {"407": Answer(407), "hangs": Answer(manner="hang")}.get(request.param, 200)
    collector.answer_by(lambda _request: reply)
    port = ports.free(1)[0] if request.param == "down" else collector.port
    return f"http://user:{SECRET}@127.0.0.1:{port}"


def _holders(home):
    """Give every file of the home that holds the secret in one of its forms, but for the settings."""
    return [
        str(path.relative_to(home))
        for path in homes.telemetry(home).rglob("*")
        if path.is_file() and path != homes.config_file(home)
        if any(form.encode() in path.read_bytes() for form in FORMS)
    ]


@pytest.mark.parametrize("place", ["settings", "environment", "capitals"])
def test_a_proxys_password_stays_where_it_is(zygote, home, proxy, collector, place):
    """No other file than the settings holds it, and no command prints it, whatever the proxy does."""
    settings = {"proxy": proxy} if place == "settings" else {}
    homes.configure(
        home, "https://collector.invalid/x", request_deadline_s=0.3, connect_timeout_s=0.3, **settings
    )
    env = {name: proxy for name in ("http_proxy", "https_proxy") if place == "environment"}
    env |= {name: proxy for name in ("HTTP_PROXY", "HTTPS_PROXY") if place == "capitals"}
    homes.put(home, records.series(2))
    said = zygote.once(home, env).said
    for arguments in (("status",), ("status", "--json"), ("inspect",), ("inspect", "--json")):
        said += zygote.command(home, *arguments, env=env).said
    assert [form for form in FORMS if form in said] == []
    assert _holders(home) == []
    for request in collector.requests:  # so the credentials do go there
        assert (request.method, request.path) == ("CONNECT", "collector.invalid:443")
        assert request.headers["proxy-authorization"] == f"Basic {FORMS[1]}"
