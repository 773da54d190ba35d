"""The proxy of a request: which one, and whether it can be used. Pure.

A collector on this machine is never asked through a proxy. An event that is meant for loopback must not reach
another machine. A portal's answer must not count as the collector's. ``no_proxy`` has the meaning that
curl gives it; in addition, an entry may name a port, and an address may have brackets.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from flwr_telemetry.named import NamedTuple

SETTING = "proxy in the settings"

_PORTS = {"http": 80, "https": 443}
_SCHEMES = frozenset({"http", "https"})
_SOCKS = frozenset({"socks4", "socks4a", "socks5", "socks5h"})

# A name or an address, then a length of prefix and a port; or an IPv6 address that has no brackets.
_ENTRY = (  # compiled when it is used, because most sidecars never use it
    r"(?P<host>\[[^\]]*\]|[^:/]*)(?P<prefix>/\d+)?(?::(?P<port>\d+))?|(?P<bare>[^/]*)(?P<bare_prefix>/\d+)?"
)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxy(NamedTuple):
    """A proxy that was chosen."""

    url: str
    """As it was given; it may hold credentials, and may be no URL."""
    origin: str
    """``SETTING``, or the name of a variable."""

    @property
    def shown(self) -> str | None:
        """Host and port, never the credentials; None if this is no valid address."""
        try:
            parts = urlsplit(self.url if "//" in self.url else f"//{self.url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            return None
        if not host or " " in host or "@" in parts.path + parts.query + parts.fragment:
            return None
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{port}" if port else host


class Problem(NamedTuple):
    """The reason why a proxy cannot be used. It names no address and no credentials."""

    found: str
    remedy: str


def choose(url: str, setting: str | None, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for requests to ``url``; None without one.

    Args:
        url: the collector.
        setting: the proxy in the settings, which ``no_proxy`` does not exempt.
        environ: the variables of curl, in lower case first: ``https_proxy``, ``all_proxy``, ``no_proxy``.
    """
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    if setting is not None:
        return Proxy(setting, SETTING)
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if found := environ.get(variable):
                exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
                return None if is_exempt(parts, exempt) else Proxy(found, variable)
    return None


def problem(proxy: Proxy) -> Problem | None:
    """The reason why this proxy cannot be used; None if it can be tried."""
    scheme = proxy.url.partition("://")[0].lower() if "://" in proxy.url else "http"
    where = (
        f"set {proxy.origin}"
        if proxy.origin != SETTING
        else "set proxy (`flwr-telemetry config set proxy URL`)"
    )
    if proxy.shown is None:
        found = f"the proxy in {_place(proxy)} is no valid address"
        return Problem(
            found, "write it as http://host:port; in a password, / and # and @ are %2F, %23 and %40"
        )
    if scheme in _SOCKS:
        import importlib.util

        if importlib.util.find_spec("socks") is not None:
            return None
        found = f"the proxy in {_place(proxy)} is a SOCKS proxy, and the package PySocks is missing here"
        return Problem(found, f"pip install PySocks beside flwr-telemetry, or {where} to an http:// proxy")
    if scheme == "socks":
        found = f"the proxy in {_place(proxy)} is a SOCKS proxy without a version"
        return Problem(found, f"{where} to socks5h://host:port (or socks4a://), or to an http:// proxy")
    if scheme not in _SCHEMES:
        found = f"the proxy in {_place(proxy)} is of a kind that is not supported"
        return Problem(found, f"{where} to an http://, https:// or socks5h:// proxy")
    return None


def _place(proxy: Proxy) -> str:
    return "the settings" if proxy.origin == SETTING else f"the variable {proxy.origin}"


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine itself, by its name or its address."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def is_exempt(url: SplitResult, no_proxy: str) -> bool:
    """Whether ``no_proxy`` names the host of a URL.

    Entries are separated by commas or blanks. A name stands for itself and for all names below it, with or
    without dots around it. An address may have a length of prefix. ``*`` alone stands for all hosts.
    """
    if no_proxy.strip() == "*":
        return True
    host = (url.hostname or "").rstrip(".").lower()
    address, port = _address(host), url.port or _PORTS.get(url.scheme)
    for entry in re.split(r"[\s,]+", no_proxy.lower()):
        found = re.fullmatch(_ENTRY, entry)
        if found is None or (found["port"] and int(found["port"]) != port):
            continue
        name = (found["host"] or found["bare"] or "").strip("[].")
        if address is not None:
            if _is_in(address, name + (found["prefix"] or found["bare_prefix"] or "")):
                return True
        elif name and f".{host}".endswith(f".{name}"):
            return True
    return False


def _is_in(address: _Address, network: str) -> bool:
    """Whether an address is in a network, or equal to an address."""
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> _Address | None:
    """The address that a host is, also in the old forms (``127.1``); None if it is a name."""
    try:
        found = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return getattr(found, "ipv4_mapped", None) or found
