"""Serves the application until SIGTERM. Then every request that was accepted still gets its answer.

This module never reads the address of a client. The protocol below takes it out of every request. There is no
access log, and no header of a proxy is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .app import READING_S, Collector
from .database import Database
from .errors import CollectorError
from .metrics import Metrics
from .writer import Writer

MOST_HEAD_BYTES = 64 * 1024
_BACKLOG = 2048
_FIRST_INHERITED = 3  # of the sockets that systemd hands over, sd_listen_fds(3)

log = logging.getLogger("flwr_telemetry_collector")


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve."""

    database: str
    host: str
    port: int
    """0 for any free one."""
    max_days: int
    drain_s: int
    token_file: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None


def serve(options: Options, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        options: how to serve.
        on_ready: called with the URL, once requests are answered.

    Raises:
        CollectorError: it cannot start.
    """
    token = None if options.token_file is None else _token(options.token_file)
    if (options.certificate is None) != (options.private_key is None):
        raise CollectorError("--tls-cert and --tls-key need each other")
    _raise_limit()
    database = Database(options.database)
    metrics = Metrics()
    with _listener(options.host, options.port) as listener:
        writer = Writer(database, max_days=options.max_days, on_commit=metrics.commit)
        try:
            config = _config(Collector(database, writer, metrics, token), options)
            # The server raises the signals that ended it once more; by then they have done their work.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            scheme = "http" if options.certificate is None else "https"
            on_ready(f"{scheme}://{shown}:{port}")
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            writer.close()


def _config(app: Collector, options: Options) -> uvicorn.Config:
    try:
        config = uvicorn.Config(
            app,
            http=_bounded(AutoHTTPProtocol),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=options.drain_s,
            ssl_certfile=options.certificate,
            ssl_keyfile=options.private_key,
        )
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise CollectorError(f"the certificate or its key cannot be used: {error}") from error
    return config


def _bounded(base: type[Any]) -> type[Any]:
    """A protocol that bounds the head of a request, and the time for which a connection may stay idle."""

    class Bounded(base):  # type: ignore[misc]  # httptools or h11, as installed
        _head_bytes = _seen_bytes = 0
        _former: Any = None
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.client = None
            self._watch()

        def connection_lost(self, error: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(error)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not self._former:
                self._former, self._head_bytes = self.cycle, 0
            elif self._waits_for_a_head():
                self._head_bytes += len(data)
                if self._head_bytes > MOST_HEAD_BYTES:
                    self.transport.close()

        def _waits_for_a_head(self) -> bool:
            return self.cycle is None or bool(self.cycle.response_complete)

        def _watch(self) -> None:
            """Close the connection if a head began, or none ever did, and nothing came for a while."""
            is_late = self._head_bytes == self._seen_bytes and (self._head_bytes or self.cycle is None)
            if self._timer is not None and is_late and self._waits_for_a_head():
                self.transport.close()
                return
            self._seen_bytes = self._head_bytes
            self._timer = asyncio.get_running_loop().call_later(READING_S, self._watch)

    return Bounded


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise CollectorError(f"--token-file {path} cannot be read: {error}") from error
    if not token:
        raise CollectorError(f"--token-file {path} is empty")
    return token


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens: the one that systemd has opened, or a new one."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        return socket.socket(fileno=_FIRST_INHERITED)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise CollectorError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def _raise_limit() -> None:
    """Allow as many connections as the system lets this process have."""
    if sys.platform == "win32":
        return  # it has no such limit
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
