"""Which proxy is chosen, what ``no_proxy`` exempts, and which proxies cannot be used."""

import importlib.util

import pytest

from flwr_telemetryd.delivery import proxies
from flwr_telemetryd.delivery.proxies import SETTING, Proxy

PROXY = "http://user:quite-secret@proxy.example:3128"
EVERY = {
    name: PROXY for lower in ("http", "https", "all") for name in (f"{lower}_proxy", f"{lower.upper()}_PROXY")
}

LOOPBACK = """
127.0.0.1 127.255.0.9 127.1 2130706433 0x7f.1 0.0.0.0 localhost LocalHost localhost. a.localhost
A.B.LOCALHOST. [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::FFFF:7f00:1] [::]
""".split()
ELSEWHERE = """
10.0.0.1 128.0.0.1 localhost.example alocalhost xn--localhost telemetry.example [::2] [fe80::1]
[::ffff:10.0.0.1]
""".split()


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_collector_on_this_machine_never_meets_a_proxy(host, scheme):
    for url in (f"{scheme}://{host}/x", f"{scheme.upper()}://{host}:4318/x"):
        assert proxies.choose(url, PROXY, {}) is None
        assert proxies.choose(url, None, EVERY) is None


@pytest.mark.parametrize("host", ELSEWHERE)
def test_any_other_collector_does(host):
    assert proxies.choose(f"https://{host}/", PROXY, {}) == Proxy(PROXY, SETTING)
    assert proxies.choose(f"https://{host}/", None, EVERY) == Proxy(PROXY, "https_proxy")


@pytest.mark.parametrize(
    ("environ", "chosen"),
    [
        ({}, None),
        ({"http_proxy": "a"}, None),
        ({"https_proxy": "a", "HTTPS_PROXY": "b", "all_proxy": "c"}, Proxy("a", "https_proxy")),
        ({"https_proxy": "", "HTTPS_PROXY": "b", "all_proxy": "c"}, Proxy("b", "HTTPS_PROXY")),
        ({"all_proxy": "c", "ALL_PROXY": "d"}, Proxy("c", "all_proxy")),
        ({"ALL_PROXY": "d", "no_proxy": "other.example"}, Proxy("d", "ALL_PROXY")),
        ({"ALL_PROXY": "d", "no_proxy": "", "NO_PROXY": "collector.example"}, None),
        ({"ALL_PROXY": "d", "no_proxy": "x", "NO_PROXY": "collector.example"}, Proxy("d", "ALL_PROXY")),
    ],
)
def test_the_variables_have_the_order_of_curl(environ, chosen):
    assert proxies.choose("https://collector.example/x", None, environ) == chosen
    setting = proxies.choose("https://collector.example/x", "s", {**environ, "no_proxy": "*"})
    assert setting == Proxy("s", SETTING)


EXEMPT = {
    "https://collector.example/x": [
        *"""
        collector.example COLLECTOR.Example .collector.example collector.example. example .example
        a,collector.example a;b,,collector.example collector.example:443 .example:443
        """.split(),
        *("*", " * ", "a b collector.example", "a , collector.example ,b", "\tcollector.example\n"),
    ],
    "https://Collector.Example.:8443/": ["collector.example", "example:8443"],
    "https://10.1.2.3/": "10.1.2.3 10.1.2.3:443 10.0.0.0/8 10.1.2.3/31 10.9.9.9/8 10.0.0.0/8:443".split(),
    "https://[fd00::1]:8443/": """
        fd00::1 [fd00::1] FD00:0::1 [fd00::1]:8443 fd00::/8 [fd00::]/8 [fd00::/8] [fd00::]/8:8443
    """.split(),
}
NOT_EXEMPT = {
    "https://collector.example/x": [
        "",
        *"""
        ector.example xcollector.example a.collector.example collector.example:80 collector . , example.org
        collector.example/x *.example *,a 10.0.0.0/8 ::1 :443 /8 [] 10.0.0.0/99
        """.split(),
    ],
    "https://10.1.2.3/": "10.1.2 1.2.3 10.1.2.3:80 10.1.2.4 11.0.0.0/8 10.1.2.3/33 ::/0 .3 [::1]".split(),
    "https://[fd00::1]:8443/": "fd00::2 [fd00::1]:443 fc00::/8 fd00 1 [fd00::]/129 0.0.0.0/0 ::1".split(),
}


@pytest.mark.parametrize("table", [EXEMPT, NOT_EXEMPT], ids=["exempt", "not exempt"])
def test_no_proxy_exempts_names_and_networks_and_nothing_else(table):
    for url, entry in ((url, entry) for url, entries in table.items() for entry in entries):
        chosen = proxies.choose(url, None, {**EVERY, "no_proxy": entry})
        assert (chosen is None) is (table is EXEMPT), (url, entry)


def test_a_proxy_that_can_be_tried(monkeypatch):
    """One of SOCKS, too, where PySocks is installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for url in ("proxy.example:3128", "http://proxy.example", PROXY, "HTTPS://u:p@a:1", "socks5h://a:1"):
        assert proxies.problem(Proxy(url, SETTING)) is None, url


@pytest.mark.parametrize("origin", [SETTING, "ALL_PROXY"])
@pytest.mark.parametrize(
    ("url", "found", "remedy"),
    [
        ("socks5h://u:quite-secret@proxy.example:1", "PySocks", "pip install PySocks"),
        *((f"{scheme}://proxy.example", "PySocks", "http://") for scheme in ("SOCKS5", "socks4")),
        ("socks://u:quite-secret@proxy.example:1", "without a version", "socks5h://"),
        ("ftp://proxy.example", "not supported", "http://"),
        ("http://u:quite-secret/x@proxy.example", "no valid address", "%2F"),
        *((bad, "no valid address", "http://host:port") for bad in ("http://[", "http://u:p@", "http://x:y")),
        ("see the wiki", "no valid address", "http://host:port"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_with_a_remedy(url, found, remedy, origin, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    problem = proxies.problem(Proxy(url, origin))
    assert found in problem.found
    assert remedy in problem.remedy
    assert ("settings" if origin == SETTING else origin) in problem.found
    assert not any(word in "".join(problem) for word in ("quite-secret", "proxy.example"))


def test_a_proxy_is_shown_by_host_and_port():
    known = {"http://us:pw@proxy.example:3128/": "proxy.example:3128", "proxy.example": "proxy.example"}
    for url, shown in (*known.items(), ("http://[fd00::1]:3128", "[fd00::1]:3128")):
        assert Proxy(url, SETTING).shown == shown
