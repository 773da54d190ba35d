"""The one thread that writes. All parcels that wait become one transaction (a group commit).

An answer is given only after the commit. If the database does not answer, the sender of each parcel is told
so, and tries again. Nothing counts twice, even if a commit was done and its answer was lost. The thread also
drops what is older than ``max_days``, and empties the log of SQLite after a deletion.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from .database import Database, told
from .intake import Parcel
from .store import Deleted, Outcome, Store

MOST_WAITING = 5000
MOST_WAITING_BYTES = 128 * 1024 * 1024
MOST_IN_COMMIT = 500
MOST_IN_COMMIT_BYTES = 8 * 1024 * 1024

_HOUSEKEEPING_S = 3600.0
_TRUNCATION_S = 1.0
_DAY_S = 86_400
_AT_ONCE_S = 1.0

log = logging.getLogger("flwr_telemetry_collector")


class UnavailableError(Exception):
    """The database does not answer; nothing was accepted."""


class QueueFullError(Exception):
    """Too much waits to be written."""


@dataclass(slots=True)
class _Job:
    done: Callable[[Any], None]
    """Called in the thread with the result, or the error."""
    parcel: Parcel | None = None
    run: Callable[[Connection], Any] | None = None
    """Another task, in a transaction of its own; None for a parcel."""
    is_deletion: bool = False


class Writer:
    """Writes to a database until it is closed.

    Args:
        database: the database.
        max_days: how long bodies are kept, in days.
        most_waiting: jobs that may wait.
        on_commit: called in the thread with the seconds of each commit of parcels.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_days: int,
        most_waiting: int = MOST_WAITING,
        on_commit: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._database, self._max_days, self._most_waiting = database, max_days, most_waiting
        self._on_commit = on_commit
        self._store = Store()
        self._jobs: deque[_Job] = deque()
        self._bytes = 0
        self._condition = threading.Condition()
        self._is_closed = False
        self._owes_truncation = True  # an earlier process may have died between a deletion and this step
        self._is_failing = False
        self._next_housekeeping = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="writer")
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of jobs that wait."""
        return len(self._jobs)

    async def add(self, parcel: Parcel) -> Outcome:
        """Write a parcel, and wait for the commit.

        Raises:
            QueueFullError, UnavailableError: it is not written.
        """
        outcome: Outcome = await self._do(parcel=parcel)
        return outcome

    async def forget(self, source_id: str) -> Deleted:
        """Delete a source, and wait for the commit, and for the log of SQLite if no reader holds it.

        Raises:
            QueueFullError, UnavailableError: nothing is deleted.
        """
        deleted: Deleted = await self._do(
            run=lambda connection: self._store.forget(connection, source_id, today()), is_deletion=True
        )
        return deleted

    async def ping(self) -> None:
        """Raise UnavailableError or QueueFullError unless the thread can write."""
        await self._do(run=lambda connection: connection.execute(text("SELECT 1")).scalar_one())

    async def _do(self, **job: Any) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any) -> None:
            if future.done():  # its client has gone
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        def done(result: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before us
                loop.call_soon_threadsafe(settle, result)

        self._put(_Job(done, **job))
        return await future

    def _put(self, job: _Job) -> None:
        size = len(job.parcel.raw) if job.parcel else 0
        with self._condition:
            if self._is_closed:
                raise UnavailableError
            if len(self._jobs) >= self._most_waiting or self._bytes + size > MOST_WAITING_BYTES:
                raise QueueFullError
            self._jobs.append(job)
            self._bytes += size
            self._condition.notify()

    def close(self) -> None:
        """Write what waits, and end the thread."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while (jobs := self._take()) is not None:
            if jobs and jobs[0].parcel:
                self._add(jobs)
            for job in jobs:
                if job.run:
                    self._other(job)
            if time.monotonic() >= self._next_housekeeping:
                self._housekeeping()
            if self._owes_truncation:
                self._owes_truncation = not self._database.truncate_log(0)
        self._database.close()

    def _take(self) -> list[_Job] | None:
        """The next jobs: parcels, or one other; none if something else is due; None at the end."""
        taken: list[_Job] = []
        size = 0
        with self._condition:
            if not self._jobs and not self._is_closed:
                pause_s = _TRUNCATION_S if self._owes_truncation else _HOUSEKEEPING_S
                self._condition.wait(min(pause_s, max(self._next_housekeeping - time.monotonic(), 0)))
            if not self._jobs:
                return None if self._is_closed else []
            while self._jobs and len(taken) < MOST_IN_COMMIT and size < MOST_IN_COMMIT_BYTES:
                if taken and not self._jobs[0].parcel:
                    break
                job = self._jobs.popleft()
                taken.append(job)
                if not job.parcel:
                    break
                size += len(job.parcel.raw)
            self._bytes -= size
        return taken

    def _add(self, jobs: list[_Job]) -> None:
        parcels = [job.parcel for job in jobs if job.parcel]
        began = time.monotonic()
        result = self._transaction(lambda connection: self._store.add(connection, parcels, today()))
        if isinstance(result, UnavailableError) and not self._is_failing and len(jobs) > 1:
            for job in jobs:  # one of them may be what the database cannot take
                self._add([job])
            return
        self._on_commit(time.monotonic() - began)
        results = [result] * len(jobs) if isinstance(result, UnavailableError) else result
        for job, outcome in zip(jobs, results, strict=True):
            job.done(outcome)

    def _other(self, job: _Job) -> None:
        assert job.run is not None
        result = self._transaction(job.run)
        if job.is_deletion and not isinstance(result, UnavailableError):
            self._owes_truncation = not self._database.truncate_log(_TRUNCATION_S)
        job.done(result)

    def _transaction(self, work: Callable[[Connection], Any]) -> Any:
        """The result of ``work`` after the commit; an ``UnavailableError`` if it failed late, or twice.

        A deadlock, a restart of the database, or a profile that another collector has deleted, fails once.
        """
        try:
            began = time.monotonic()
            try:
                with self._database.writing() as connection:
                    result = work(connection)
            except DBAPIError:
                if time.monotonic() - began > _AT_ONCE_S:
                    raise
                self._store.clear()
                with self._database.writing() as connection:
                    result = work(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the senders keep their bodies
            self._note(error)
            return UnavailableError()
        if self._is_failing:
            self._is_failing = False
            log.warning("the database answers again")
        return result

    def _note(self, error: Exception) -> None:
        """Log a failure, once until the next success, without any value of a body."""
        kind = told(error) if isinstance(error, DBAPIError) else type(error).__name__
        if not self._is_failing:
            log.error("the database could not write (%s); requests get 503 until it can", kind)
        self._is_failing = isinstance(error, OperationalError | InterfaceError)

    def _housekeeping(self) -> None:
        """Drop some of what is too old; the rest in the next passes."""
        oldest = today() - self._max_days
        dropped = self._transaction(lambda connection: self._store.expire(connection, oldest))
        is_more = not isinstance(dropped, UnavailableError) and dropped > 0
        self._owes_truncation |= is_more
        self._next_housekeeping = time.monotonic() + (0.0 if is_more else _HOUSEKEEPING_S)


def today() -> int:
    """The day in UTC, in days since the epoch."""
    return int(time.time() // _DAY_S)
