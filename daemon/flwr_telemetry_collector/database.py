"""Opens a database: a file of SQLite, or a PostgreSQL. Both get the rules on which the store relies.

SQLite: a write-ahead log, ``synchronous=FULL`` (a commit is on the disk), and ``secure_delete`` (what is
deleted is overwritten). A transaction that writes takes the lock at once, so that none fails half-way.
PostgreSQL: no statement and no lock waits for ever.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from . import schema
from .errors import CollectorError

BUSY_S = 5
"""How long a transaction waits for another one."""

_PRAGMAS = (
    f"busy_timeout={BUSY_S * 1000}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    "temp_store=MEMORY",
)
_OPTIONS = (
    f"-c lock_timeout={BUSY_S}s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s "
    "-c timezone=UTC"
)
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_POLL_S = 0.05


class Database:
    """An open database, with its tables made.

    Args:
        address: a URL of ``sqlite`` or ``postgresql``, or the path of an SQLite file.

    Raises:
        CollectorError: it cannot be used.
    """

    def __init__(self, address: str) -> None:
        url = _url(address)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        try:
            self._engine = _sqlite(url) if self.is_sqlite else _postgres(url)
            with self.writing() as connection:
                schema.prepare(connection)
        except ImportError as error:
            raise CollectorError("PostgreSQL needs: pip install 'flwr-telemetry[postgres]'") from error
        except DBAPIError as error:
            self._engine.dispose()
            shown = url.render_as_string(hide_password=True)
            raise CollectorError(f"{shown} cannot be opened ({told(error)})") from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; it is committed when the block ends well."""
        with self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database, and takes as long as it needs."""
        with self._engine.connect() as connection:
            if self.is_sqlite:
                connection = connection.execution_options(reads=True)  # noqa: PLW2901 - the same one
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield connection

    def truncate_log(self, wait_s: float) -> bool:
        """Empty the write-ahead log of SQLite, in which deleted rows may stand; whether that is done.

        A transaction of another reader prevents it. Always true for PostgreSQL.
        """
        if not self.is_sqlite:
            return True
        deadline = time.monotonic() + wait_s
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout=0")  # otherwise SQLite itself waits for the readers
            while True:
                try:
                    is_busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                except sqlite3.OperationalError:
                    is_busy = 1
                if not is_busy or time.monotonic() >= deadline:
                    return not is_busy
                time.sleep(_POLL_S)
        finally:
            connection.invalidate()

    def close(self) -> None:
        """Close every connection that no thread uses."""
        self._engine.dispose()


def told(error: DBAPIError) -> str:
    """The kind of an error. Its message may hold values of a body, or a source ID."""
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return f"{type(error.orig).__name__}{f', {state}' if state else ''}"


def _url(address: str) -> URL:
    if "://" not in address:
        return URL.create("sqlite", database=os.path.abspath(address))
    try:
        url = make_url(address)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise CollectorError("--db is no URL of a database, for example sqlite:////srv/flwr.db") from error
    if backend in {"postgres", "postgresql"}:
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or not url.database or url.database == ":memory:":
        raise CollectorError("--db names a file of sqlite, or a postgresql")
    return url


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin as said below
        modes = {pragma: connection.execute(f"PRAGMA {pragma}").fetchone() for pragma in _PRAGMAS}
        if modes["journal_mode=WAL"] != ("wal",):
            raise CollectorError(f"{url.database}: no write-ahead log is possible there; use a local disk")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_reader = connection.get_execution_options().get("reads")
        connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")

    return engine


def _postgres(url: URL) -> Engine:
    arguments = {"connect_timeout": 5, "options": _OPTIONS, **_KEEPALIVES}
    return create_engine(url, hide_parameters=True, connect_args=arguments, pool_size=4)
