"""The certificates that are trusted: which ones, and where they come from.

``ca_bundle``, ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE`` are exclusive. Without them, the certificates
of this interpreter's default context are trusted (the system's store, ``SSL_CERT_FILE``, ``SSL_CERT_DIR``).
certifi's are trusted then, too, because a slim container has no store.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import ssl
from collections.abc import Mapping

from flwr_telemetry.named import NamedTuple

_EXCLUSIVE = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HEX_DIGITS, _HASH_LENGTH = set("0123456789abcdef"), 8


class BundleError(Exception):
    """The bundle cannot be used; the message holds no path."""


class Trust(NamedTuple):
    """The certificates in force."""

    origin: str = ""
    """``ca_bundle``, or the name of the variable that names the bundle; empty without a bundle."""
    bundle: str = ""
    """The path of the only certificates, a file or a directory; empty without a bundle."""

    @property
    def is_exclusive(self) -> bool:
        """Whether nothing else is trusted, neither the system's store nor certifi."""
        return bool(self.origin)

    def context(self) -> ssl.SSLContext:
        """A context that trusts these certificates, or so far only those that cost nothing to load.

        Those are in a directory where OpenSSL finds each one when it needs it, as Debian's; see ``add_rest``.

        Raises:
            BundleError: the bundle cannot be used.
        """
        directory = "" if self.is_exclusive else _directory()
        for name, places in self._named().items():
            if any(map(_is_endless, places)):
                raise BundleError(f"TLS: {name} names neither a plain file nor a directory")
        try:
            if not self.is_exclusive:
                made = ssl.create_default_context(capath=directory or None)
            elif os.path.isdir(self.bundle):
                made = ssl.create_default_context(capath=self.bundle)
            else:
                made = ssl.create_default_context(cafile=self.bundle)
        except ssl.SSLError as error:
            raise BundleError(f"TLS: the file that {self.origin} names holds no certificate") from error
        except OSError as error:
            message = f"TLS: the certificates that {self.origin} names cannot be read: {error.strerror}"
            raise BundleError(message) from error
        if not (self.is_exclusive or directory or _has_any(made)):
            _add_certifi(made)
        made.options |= ssl.OP_NO_TICKET  # a late ticket looks like an answer that nobody asked for
        return made

    def _named(self) -> dict[str, list[str]]:
        """The paths that the context is made from, by the names of the variables or of the setting."""
        if self.is_exclusive:
            return {self.origin: [self.bundle]}
        usual = ssl.get_default_verify_paths()
        names = (usual.openssl_cafile_env, usual.openssl_capath_env)
        return {name: os.environ.get(name, "").split(os.pathsep) for name in names}


def _is_endless(place: str) -> bool:
    """Whether OpenSSL would read a path for ever: a device, or a FIFO into which nobody writes."""
    is_usual = os.path.isfile(place) or os.path.isdir(place) or place == os.devnull
    return os.path.exists(place) and not is_usual


def choose(ca_bundle: str | None, environ: Mapping[str, str]) -> Trust:
    """The certificates in force for these settings and variables."""
    if ca_bundle is not None:
        return Trust("ca_bundle", ca_bundle)
    return next((Trust(name, path) for name in _EXCLUSIVE if (path := environ.get(name))), Trust())


def add_rest(context: ssl.SSLContext) -> None:
    """Trust all of the default context and of certifi.

    The file of either takes 20 ms to load, so this waits until a server is not trusted without it.
    """
    context.load_default_certs()
    _add_certifi(context)


def _add_certifi(context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):  # a packed program may not have the file; the system's store remains
        import certifi

        context.load_verify_locations(certifi.where())


def _has_any(context: ssl.SSLContext) -> bool:
    """Whether a context holds certificates."""
    try:
        return context.cert_store_stats()["x509_ca"] > 0
    except NotImplementedError:  # truststore has replaced the class, and asks the system at each handshake
        return True


def _directory() -> str:
    """Where the default context finds certificates by the names of their files; empty if nowhere.

    A person who names a file means that one, so the directory is not tried alone.
    """
    default = ssl.get_default_verify_paths()
    if os.environ.get(default.openssl_cafile_env):
        return ""
    chosen = os.environ.get(default.openssl_capath_env, default.openssl_capath)
    paths = filter(os.path.isdir, chosen.split(os.pathsep))
    with contextlib.suppress(OSError):
        if any(map(_is_hashed, itertools.chain.from_iterable(map(os.listdir, paths)))):
            return chosen
    return ""


def _is_hashed(name: str) -> bool:
    """Whether ``openssl rehash`` has made this name of a file, such as ``0179095f.0``."""
    digits, _, number = name.partition(".")
    return len(digits) == _HASH_LENGTH and _HEX_DIGITS.issuperset(digits) and number.isdigit()


def places(environ: Mapping[str, str]) -> list[str]:
    """The paths in which the default context looks for certificates, each with its origin; in words."""
    default = ssl.get_default_verify_paths()
    found = []
    for name, path in (
        (default.openssl_cafile_env, default.openssl_cafile),
        (default.openssl_capath_env, default.openssl_capath),
    ):
        if not (chosen := environ.get(name)):
            found.append(path)
        elif any(os.access(part, os.R_OK) for part in chosen.split(os.pathsep)):
            found.append(f"{chosen} ({name})")
        else:
            found.append(f"{chosen} ({name}, which cannot be read)")
    return found
