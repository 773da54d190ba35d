"""The collector over HTTP, as an ASGI application.

    POST    /api/v1/event            201 once the body is on the disk; the same for one that was known
    DELETE  /api/v1/source/<uuid>    204 once everything of a source is gone
    GET     /                        the report of the last 30 days
    GET     /healthz, /metrics, /openapi.json

No address of a client is read, stored or logged. Memory is bounded: the size of a content is limited while it
is read. So is the size of all contents that are read or wait at once.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import intake, page, questions
from .database import Database
from .errors import RefusalError
from .metrics import Metrics
from .store import Outcome
from .writer import QueueFullError, UnavailableError, Writer, today

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

RETRY_AFTER_S = 10
REPORT_DAYS = 30
REPORT_EVERY_S = 60.0
READING_S = 30.0
"""The longest time for a client to send a content."""

MOST_READING_BYTES = 256 * 1024 * 1024
"""Of all contents that are being read."""

_LEFT_UNREAD_BYTES = 16 * 1024 * 1024
"""So much of a content that is too large is still read, so that its sender sees the answer."""

_INLINE_BYTES = 64 * 1024
"""A larger body is parsed in another thread, so that others need not wait for it."""

_PING_S = 5.0

log = logging.getLogger("flwr_telemetry_collector")


class Collector:
    """The application, and what its requests share.

    Args:
        database: for the report.
        writer: for everything else.
        metrics: the counts.
        token: what ``GET /`` needs; None for everybody.
    """

    def __init__(
        self, database: Database, writer: Writer, metrics: Metrics, token: str | None = None
    ) -> None:
        self._database, self._writer, self._metrics, self._token = database, writer, metrics, token
        self._reading_bytes = 0
        self._report: tuple[float, bytes] | None = None
        self._report_turn = asyncio.Lock()
        self._app = Starlette(
            routes=[
                Route("/api/v1/event", self._event, methods=["POST"]),
                Route("/api/v1/event", _options("POST, OPTIONS"), methods=["OPTIONS"]),
                Route("/api/v1/source/{source}", self._delete, methods=["DELETE"]),
                Route("/api/v1/source/{source:path}", _options("DELETE, OPTIONS"), methods=["OPTIONS"]),
                Route("/", self._page),
                Route("/healthz", self._health),
                Route("/metrics", self._figures),
                Route("/openapi.json", _description),
            ],
            exception_handlers={
                HTTPException: _http_error,
                ClientDisconnect: _nobody_waits,
                Exception: self._failed,
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. An error of ours is logged by its place alone: a message may hold values."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the server would log its message
            log.error("a request failed: %s at %s", type(error).__name__, _place(error))  # noqa: TRY400

    async def _failed(self, _request: Request, _error: Exception) -> Response:
        """The answer after an error of ours, which starlette raises once more afterwards."""
        return self._refused(500, "an error of the collector")

    async def _event(self, request: Request) -> Response:
        chunks: list[bytes] = []
        try:
            await self._read(request, chunks)
            data = b"".join(chunks)
            key = request.headers.get("idempotency-key")
            coding = request.headers.get("content-encoding", "")
            if len(data) > _INLINE_BYTES or coding:
                parcel = await asyncio.to_thread(_parcel, data, coding, key)
            else:
                parcel = _parcel(data, coding, key)
            outcome = await self._writer.add(parcel)
        except RefusalError as refusal:
            return self._refused(refusal.status, refusal.reason, refusal.field)
        except TimeoutError:
            return self._refused(408, f"not all has come within {READING_S:.0f} s")
        except QueueFullError:
            return self._refused(503, "too much waits to be written")
        except UnavailableError:
            return self._refused(503, "the database does not answer")
        finally:
            self._reading_bytes -= sum(map(len, chunks))
        if outcome is Outcome.CONFLICT:
            return self._refused(422, "it belongs to another body", "Idempotency-Key")
        if outcome is Outcome.TANGLED:
            return self._refused(422, "its dates overlap with too many known events", "burst")
        self._metrics.bodies[outcome.value] += 1
        if outcome is Outcome.ACCEPTED:
            self._metrics.events += parcel.count
        return JSONResponse({"status": "created"}, 201, {"Accept-Encoding": "gzip"})

    async def _read(self, request: Request, chunks: list[bytes]) -> None:
        """Read a content into ``chunks``. Adds their size to ``_reading_bytes``; the caller takes it away.

        Raises:
            RefusalError: 413, 415 or 503. TimeoutError: the client is too slow.
        """
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RefusalError(415, "the Content-Type must be application/json")
        if request.headers.get("content-encoding", "").strip().lower() in {"gzip", "x-gzip"}:
            most_bytes = intake.MAX_PACKED_BYTES
        else:
            most_bytes = intake.MAX_UNPACKED_BYTES
        size = 0
        async with asyncio.timeout(READING_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > most_bytes + _LEFT_UNREAD_BYTES:
                    break
                if size > most_bytes:
                    continue
                self._reading_bytes += len(chunk)
                chunks.append(chunk)
                if self._reading_bytes > MOST_READING_BYTES:
                    raise RefusalError(503, "too much is being received")
        if size > most_bytes:
            raise RefusalError(413, "the content is too large")
        self._metrics.received_bytes += size

    async def _delete(self, request: Request) -> Response:
        try:
            source = str(uuid.UUID(request.path_params["source"]))
        except ValueError:
            return self._refused(422, "a source ID is a UUID", "source")
        try:
            await self._writer.forget(source)
        except (QueueFullError, UnavailableError):
            return self._refused(503, "the database does not answer; nothing was deleted")
        self._metrics.deletions += 1
        self._report = None  # it may count the source
        return Response(status_code=204)

    async def _page(self, request: Request) -> Response:
        if self._token is not None and not _is_given(request.headers.get("authorization", ""), self._token):
            wanted = {"WWW-Authenticate": 'Basic realm="report", charset="UTF-8"'}
            return JSONResponse({"error": "the token is needed, as password or bearer"}, 401, wanted)
        async with self._report_turn:
            if self._report is None or time.monotonic() - self._report[0] > REPORT_EVERY_S:
                self._report = time.monotonic(), await asyncio.to_thread(self._read_page)
            data = self._report[1]
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": page.policy()}
        return Response(data, media_type="text/html; charset=utf-8", headers=headers)

    def _read_page(self) -> bytes:
        with self._database.reading() as connection:
            return page.render(questions.read(connection, today() - REPORT_DAYS + 1))

    async def _health(self, _request: Request) -> Response:
        try:
            await asyncio.wait_for(self._writer.ping(), _PING_S)
        except (QueueFullError, UnavailableError, TimeoutError):
            return JSONResponse({"status": "the database does not answer"}, 503)
        return JSONResponse({"status": "ok"})

    async def _figures(self, _request: Request) -> Response:
        text = self._metrics.text(self._writer.waiting)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _refused(self, status: int, reason: str, field: str = "") -> Response:
        self._metrics.refused[status, field] += 1
        headers = {}
        if status == 503:  # noqa: PLR2004
            headers["Retry-After"] = str(RETRY_AFTER_S)
        if status == 415:  # noqa: PLR2004
            headers["Accept-Encoding"] = "gzip"
        if status in {408, 413}:
            headers["Connection"] = "close"
        told = {"error": reason, "field": field} if field else {"error": reason}
        return JSONResponse(told, status, headers)


def _parcel(data: bytes, coding: str, key: str | None) -> intake.Parcel:
    return intake.parcel(intake.unpacked(data, coding), key)


def _options(methods: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return Response(status_code=204, headers={"Allow": methods})

    return answer


async def _description(_request: Request) -> Response:
    data = resources.files(__package__ or "").joinpath("openapi.json").read_bytes()
    return Response(data, media_type="application/json")


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _nobody_waits(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # the client has gone amid its request


def _is_given(header: str, token: str) -> bool:
    """Whether an ``Authorization`` header holds the token: as bearer, or as the password of any user."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(value.encode(), token.encode())


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "an unknown place"
