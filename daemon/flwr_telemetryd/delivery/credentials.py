"""The credentials for a collector of an organisation: headers with a token, and a certificate.

The file of the headers is read again for each request, so a new token works at once. No value of a header
ever stands in a message of ours. An error names the file, and at most the name of the header.
"""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path

from flwr_telemetry import files, system
from flwr_telemetry.errors import SpoolUnsafeError, TelemetryError
from flwr_telemetry.settings import DEFAULT_URL, Settings

from .trust import BundleError

_MAX_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_OURS = frozenset(
    "host content-type content-length content-encoding transfer-encoding connection accept-encoding "
    "idempotency-key user-agent expect te trailer upgrade".split()
)
_SHORTEST_SECRET = 4
REMOVED = "<header>"


class CredentialsError(BundleError):
    """They cannot be used; the message names the setting and the file, and tells the repair."""


class Credentials:
    """The headers and the certificate that the settings name; without a setting, none."""

    def __init__(self, settings: Settings) -> None:
        self._headers_file = settings.headers_file
        self._certificate, self._key = settings.client_cert, settings.client_key
        self._is_flowers = settings.url == DEFAULT_URL
        self._secrets: set[str] = set()

    @property
    def has_certificate(self) -> bool:
        """Whether a certificate is shown to the server."""
        return self._certificate is not None or self._key is not None

    def headers(self) -> dict[str, str]:
        """The headers to send, by the file as it is now.

        Raises:
            CredentialsError: the file cannot be used, or it is not clear for which collector it is.
        """
        if self._is_flowers and (self._headers_file is not None or self.has_certificate):
            raise CredentialsError(
                "headers_file, client_cert and client_key are for a collector of your own; set its url"
            )
        if self._headers_file is None:
            return {}
        found = _headers(_path(self._headers_file))
        parts = {part for value in found.values() for part in (value, *value.split())}
        self._secrets |= parts | {part.replace("/", "\\/") for part in parts}  # as some write it in JSON
        return found

    def scrubbed(self, text: str) -> str:
        """A text of the server without the values of our headers, which it may quote."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, REMOVED)
        return text

    def add_to(self, context: ssl.SSLContext) -> None:
        """Have a context show the certificate; raises CredentialsError if it cannot be used."""
        if not self.has_certificate:
            return
        if self._certificate is None:
            raise CredentialsError("client_key needs client_cert, too")
        key = _path(self._key) if self._key is not None else None
        try:
            # Without a password, OpenSSL would ask for that of an encrypted key at the terminal.
            context.load_cert_chain(_path(self._certificate), key, password=lambda: "")
        except ssl.SSLError as error:
            raise CredentialsError(
                "client_cert and client_key are no certificate and its key in PEM, without a password"
            ) from error
        except OSError as error:
            raise CredentialsError(f"client_cert or client_key cannot be read: {error.strerror}") from error


def _path(setting: str) -> Path:
    return Path(os.path.expanduser(setting))


def _private(path: Path) -> bytes:
    """The bytes of a plain file of ours that nobody else can read; it may stand behind a link."""
    with files.opened(path, os.O_RDONLY, any_owner=True) as descriptor:
        status = os.fstat(descriptor)
        if not system.is_own(status):
            raise SpoolUnsafeError(f"{path} belongs to another user; make it a file of your own")
        if not system.is_private(status):
            raise SpoolUnsafeError(f"{path} can be read by others; {files.chmod_advice(files.FILE_MODE)}")
        return os.read(descriptor, _MAX_BYTES + 1)


def _headers(path: Path) -> dict[str, str]:
    """The headers in a file of ours that nobody else can read."""
    try:
        raw = _private(path)
    except TelemetryError as error:
        raise CredentialsError(f"headers_file: {error}") from error
    except OSError as error:
        raise CredentialsError(f"headers_file {path} cannot be read: {error.strerror}") from error
    import tomllib

    try:
        found = tomllib.loads(raw.decode()) if len(raw) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        found = None  # the message of the parser may quote a value
    if found is None:
        raise CredentialsError(f'headers_file {path} is no table of headers in TOML: name = "value"')
    for name, value in found.items():
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            raise CredentialsError(f"headers_file {path}: {name!a} is no header that can be added")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise CredentialsError(
                f"headers_file {path}: the value of {name} is no text of one line in ASCII"
            )
    return found
