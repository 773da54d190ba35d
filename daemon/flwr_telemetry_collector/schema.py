"""The tables, and how a database gets from one version of them to the next.

    source      a source ID, with the days on which it was first and last heard
    profile     distinct versions, operating systems, Pythons and machines
    body        a request body: whose, when received (a day), and the body itself, compressed
    span        the events of one cluster in a body: their number, the first and the last date
    forgotten   SHA-256 of every source ID that was forgotten

There is not one row for an event: the body gives every event back. ``source`` and ``day`` stand in ``body``
and ``span`` so that PostgreSQL can partition both by them. Rows go with their source.

``MIGRATIONS`` holds the statements of each later version. Version 1 is what ``TABLES`` describes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    text,
)

from .errors import CollectorError

VERSION = 1

MIGRATIONS: dict[int, tuple[str, ...]] = {}
"""By version: the statements that make it of the version before, on both databases."""

_LOCK = 0x666C7772
"""Of the transaction that makes or migrates the tables of a PostgreSQL ("flwr")."""

TABLES = MetaData()

_Id = BigInteger().with_variant(Integer, "sqlite")

VERSIONS = Table("collector_version", TABLES, Column("version", Integer, primary_key=True))

SOURCE = Table(
    "source",
    TABLES,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("first_day", Integer, nullable=False),
    Column("last_day", Integer, nullable=False),
)

PROFILE = Table(
    "profile",
    TABLES,
    Column("id", _Id, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    *(
        Column(name, Text, nullable=False)
        for name in ("package", "version", "system", "implementation", "python", "machine")
    ),
    *(Column(name, Integer) for name in ("cpu_count", "cpu_physical", "memory_gib")),
)

BODY = Table(
    "body",
    TABLES,
    Column("id", _Id, primary_key=True),
    Column("source", _Id, ForeignKey("source.id", ondelete="CASCADE"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("digest", LargeBinary),
    Column("profile", _Id, ForeignKey("profile.id"), nullable=False),
    Column("type", Text, nullable=False),
    Column("ok", Boolean),
    Column("count", Integer, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("day", Integer, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    UniqueConstraint("source", "key"),
    Index("body_day", "day"),
    Index("body_profile", "profile"),
)

SPAN = Table(
    "span",
    TABLES,
    Column("source", _Id, ForeignKey("source.id", ondelete="CASCADE"), nullable=False),
    Column("body", _Id, nullable=False),
    Column("day", Integer, nullable=False),
    Column("cluster", LargeBinary, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("n", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    PrimaryKeyConstraint("source", "body", "cluster"),
    Index("span_cluster", "cluster", "last"),
)

FORGOTTEN = Table("forgotten", TABLES, Column("hash", LargeBinary, primary_key=True))


def prepare(connection: Connection) -> None:
    """Make the tables, or bring them to this version; several collectors may do it at once.

    Raises:
        CollectorError: a newer release has made them.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if not inspect(connection).has_table(VERSIONS.name):
        TABLES.create_all(connection)
        connection.execute(VERSIONS.insert(), {"version": VERSION})
        return
    found = connection.execute(VERSIONS.select()).scalar_one()
    if found > VERSION:
        raise CollectorError(f"the tables have version {found}; this release knows {VERSION}: update it")
    for version in range(found + 1, VERSION + 1):
        for statement in MIGRATIONS[version]:
            connection.execute(text(statement))
        connection.execute(VERSIONS.update(), {"version": version})
