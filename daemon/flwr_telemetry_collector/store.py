"""The changes of the database, one transaction each: parcels are added, sources forgotten, old days dropped.

An event counts once, by the key of its body, and by (source, cluster, date, type): another grouping of known
events adds nothing. The rows of one body are always different events, even with equal dates.

Several collectors may write to one PostgreSQL. Each transaction first locks the rows of its sources, in the
order of their names. So no other transaction changes anything of these sources until its end. On SQLite a
transaction that writes is alone.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, delete, select, text, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from flwr_telemetryd.burst import codec

from . import intake
from .intake import Parcel, Profile
from .schema import BODY, FORGOTTEN, PROFILE, SOURCE, SPAN

MOST_COMPARED = 500_000
"""A body that overlaps with more known events than that is refused, because no home makes such bodies."""

_CHUNK = 500
_MOST_PROFILES = 4096
_MOST_EXPIRED = 2000


class Outcome(enum.Enum):
    """The result for a parcel."""

    ACCEPTED = "accepted"
    """At least one of its events is new."""
    DOUBLE = "double"
    """All of its events were known."""
    FORGOTTEN = "forgotten"
    """Its source was forgotten, so it was dropped."""
    CONFLICT = "conflict"
    """Its key belongs to another body, with other events."""
    TANGLED = "tangled"
    """It overlaps with too many known bodies."""


class Deleted(NamedTuple):
    """Counts of the bodies and events that were deleted with a source."""

    bodies: int
    events: int


class _Known(NamedTuple):
    """A span that the database, or an earlier parcel of the transaction, holds."""

    first: int
    last: int
    n: int
    of: int | bytes
    """The ID of the body, or the compressed body of the parcel."""


class Store:
    """Adds and forgets. It caches the IDs of profiles, and nothing else."""

    def __init__(self) -> None:
        self._profiles: dict[Profile, int] = {}

    def clear(self) -> None:
        """Empty the cache, after another collector may have deleted a profile."""
        self._profiles.clear()

    def add(self, connection: Connection, parcels: Sequence[Parcel], day: int) -> list[Outcome]:
        """Add parcels.

        Args:
            connection: a transaction that writes.
            parcels: at least one.
            day: the day of receipt, in days since the epoch.

        Returns:
            An outcome for each.
        """
        sources = self._sources(connection, {parcel.source for parcel in parcels}, day)
        wanted = [parcel for parcel in parcels if parcel.source in sources]
        keys = _known_keys(connection, [(sources[parcel.source], parcel.key) for parcel in wanted])
        known, is_too_much = _known_spans(connection, sources, wanted)
        if is_too_much and len(parcels) > 1:  # that is the fault of one of them
            return [self.add(connection, [parcel], day)[0] for parcel in parcels]
        outcomes: list[Outcome] = []
        fresh: dict[tuple[int, bytes], Parcel] = {}
        for parcel in parcels:
            source = sources.get(parcel.source)
            if source is None:
                outcomes.append(Outcome.FORGOTTEN)
                continue
            place = source, parcel.key
            if place in keys and keys[place] == parcel.digest:
                outcomes.append(Outcome.DOUBLE)
                continue
            try:
                left = _without_known(connection, source, parcel, known, is_too_much=is_too_much)
            except _TangledError:
                outcomes.append(Outcome.TANGLED)
                continue
            if left is None:
                outcomes.append(Outcome.DOUBLE)
            elif place in keys:
                outcomes.append(Outcome.CONFLICT)
            else:
                outcomes.append(Outcome.ACCEPTED)
                keys[place], fresh[place] = left.digest, left
                for span in left.spans:
                    found = known.setdefault((source, left.event_type, span.cluster), [])
                    found.append(_Known(span.first, span.last, span.n, left.raw))
        if fresh:
            self._write(connection, fresh, day)
        return outcomes

    def _sources(self, connection: Connection, names: set[str], day: int) -> dict[str, int]:
        """The IDs of sources, whose rows this transaction then holds, without those that were forgotten."""
        names = names - _forgotten(connection, names)
        if not names:
            return {}
        ids = self._held(connection, names, day)
        # Once more: a deletion by another collector may have held the row, and has noted its hash now.
        for name in _forgotten(connection, names):
            connection.execute(delete(SOURCE).where(SOURCE.c.id == ids.pop(name)))
        return ids

    def _held(self, connection: Connection, names: Iterable[str], day: int) -> dict[str, int]:
        """The IDs of sources; this transaction holds their rows until its end, and makes those that miss."""
        rows = [{"name": name, "first_day": day, "last_day": day} for name in sorted(names)]
        insert = _insert(connection, SOURCE)
        later = {"last_day": insert.excluded.last_day}
        held = insert.on_conflict_do_update(index_elements=["name"], set_=later)
        found = connection.execute(held.returning(SOURCE.c.name, SOURCE.c.id), rows)
        return {name: id_ for name, id_ in found}  # noqa: C416 - a result is no mapping

    def _write(self, connection: Connection, fresh: dict[tuple[int, bytes], Parcel], day: int) -> None:
        profiles = self._profile_ids(connection, {parcel.profile for parcel in fresh.values()})
        rows = [
            {
                "source": source,
                "key": key,
                "digest": parcel.digest,
                "profile": profiles[parcel.profile],
                "type": parcel.event_type,
                "ok": parcel.ok,
                "count": parcel.count,
                "first": min(span.first for span in parcel.spans),
                "last": max(span.last for span in parcel.spans),
                "day": day,
                "raw": parcel.raw,
            }
            for (source, key), parcel in fresh.items()
        ]
        insert = _insert(connection, BODY).returning(BODY.c.id, BODY.c.source, BODY.c.key)
        spans = [
            (source, id_, day, span.cluster, span.first, span.last, span.n, span.failed)
            for id_, source, key in connection.execute(insert, rows)
            for span in fresh[source, bytes(key)].spans
        ]
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(_SPANS_OF_ARRAYS, tuple(map(list, zip(*spans, strict=True))))
        else:
            connection.exec_driver_sql(_SPANS_OF_VALUES, spans)

    def _profile_ids(self, connection: Connection, profiles: set[Profile]) -> dict[Profile, int]:
        if len(self._profiles) > _MOST_PROFILES:
            self._profiles.clear()
        missing = {profile.digest: profile for profile in profiles if profile not in self._profiles}
        if missing:
            rows = [{"digest": digest, **profile._asdict()} for digest, profile in sorted(missing.items())]
            insert = _insert(connection, PROFILE).on_conflict_do_nothing(index_elements=["digest"])
            connection.execute(insert, rows)
            query = select(PROFILE.c.digest, PROFILE.c.id).where(PROFILE.c.digest.in_([*missing]))
            self._profiles.update((missing[bytes(digest)], id_) for digest, id_ in connection.execute(query))
        return self._profiles

    def forget(self, connection: Connection, source_id: str, day: int) -> Deleted:
        """Delete everything of a source, and note the hash of its ID, so that late bodies are dropped."""
        name = intake.canonical(source_id)
        # A collector that just now adds the first body of the source has to wait for this row.
        source = self._held(connection, [name], day)[name]
        noted = _insert(connection, FORGOTTEN).on_conflict_do_nothing(index_elements=["hash"])
        connection.execute(noted, [{"hash": source_hash(name)}])
        totals = text("SELECT count(*), coalesce(sum(count), 0) FROM body WHERE source = :source")
        bodies, events = connection.execute(totals, {"source": source}).one()
        profiles = select(BODY.c.profile).where(BODY.c.source == source).distinct()
        used = connection.execute(profiles).scalars().all()
        connection.execute(delete(SOURCE).where(SOURCE.c.id == source))
        for profile in sorted(used):
            # A profile that no body has any more may be that of one person alone.
            unused = ~select(BODY.c.id).where(BODY.c.profile == profile).exists()
            connection.execute(delete(PROFILE).where(PROFILE.c.id == profile, unused))
        self.clear()
        return Deleted(bodies, events)

    def expire(self, connection: Connection, before_day: int) -> int:
        """Delete some of the bodies that were received before a day; the number of them."""
        query = select(BODY.c.source, BODY.c.id).where(BODY.c.day < before_day).limit(_MOST_EXPIRED)
        rows = [(source, id_) for source, id_ in connection.execute(query)]
        for some in _chunks(rows):
            connection.execute(delete(SPAN).where(tuple_(SPAN.c.source, SPAN.c.body).in_(some)))
            connection.execute(delete(BODY).where(tuple_(BODY.c.source, BODY.c.id).in_(some)))
        if not rows:
            gone = ~select(BODY.c.id).where(BODY.c.source == SOURCE.c.id).exists()
            connection.execute(delete(SOURCE).where(SOURCE.c.last_day < before_day, gone))
        return len(rows)


def export(connection: Connection, since_day: int = 0) -> Iterator[str]:
    """Every event in Flower's plain form, as one line of JSON each, in order of receipt."""
    query = select(BODY.c.raw).where(BODY.c.day >= since_day).order_by(BODY.c.id)
    found = connection.execution_options(stream_results=True, yield_per=200).execute(query)
    for (raw,) in found:
        for event in codec.events(zlib.decompress(raw)):
            yield codec.dumps(event)


def source_hash(name: str) -> bytes:
    """The hash of a source ID, which is kept after it was forgotten."""
    return hashlib.sha256(name.encode()).digest()


def _insert(connection: Connection, table: Table) -> Any:
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def _chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    whole = iter(values)
    while chunk := list(itertools.islice(whole, _CHUNK)):
        yield chunk


def _forgotten(connection: Connection, names: set[str]) -> set[str]:
    """Those of the names that were forgotten."""
    hashes = {source_hash(name): name for name in names}
    column = FORGOTTEN.c.hash
    found: set[str] = set()
    for chunk in _chunks(hashes):
        noted = connection.execute(select(column).where(column.in_(chunk))).scalars()
        found.update(hashes[bytes(hash_)] for hash_ in noted)
    return found


def _known_keys(
    connection: Connection, places: list[tuple[int, bytes]]
) -> dict[tuple[int, bytes], bytes | None]:
    """The digests of the bodies that have these sources and keys."""
    found: dict[tuple[int, bytes], bytes | None] = {}
    columns = BODY.c.source, BODY.c.key
    for chunk in _chunks(places):
        query = select(*columns, BODY.c.digest).where(tuple_(*columns).in_(chunk))
        for source, key, digest in connection.execute(query):
            found[source, bytes(key)] = None if digest is None else bytes(digest)
    return found


_Spans = dict[tuple[int, str, bytes], list[_Known]]


def _known_spans(
    connection: Connection, sources: dict[str, int], parcels: list[Parcel]
) -> tuple[_Spans, bool]:
    """The spans that overlap with those of parcels, and whether there are too many to compare."""
    known: dict[tuple[int, str, bytes], dict[int, _Known]] = {}
    asked = [
        (sources[parcel.source], span.cluster, span.first, span.last)
        for parcel in parcels
        for span in parcel.spans
    ]
    number = 0
    for chunk in _chunks(asked):
        for source, event_type, cluster, body, first, last, n in _overlapping(connection, chunk):
            spans = known.setdefault((source, event_type, bytes(cluster)), {})
            spans[body] = _Known(first, last, n, body)
            number += 1
    return {place: [*spans.values()] for place, spans in known.items()}, number >= MOST_COMPARED


# ruff: noqa: S608 - every statement is made of constants of this module
_OVERLAPS = (
    "SELECT s.source, b.type, s.cluster, s.body, s.first, s.last, s.n FROM q "
    "JOIN span s ON s.cluster = q.cluster AND s.last >= q.first AND s.first <= q.last "
    f"AND s.source = q.source JOIN body b ON b.id = s.body AND b.source = s.source LIMIT {MOST_COMPARED}"
)
_OF_ARRAYS = (
    "WITH q AS (SELECT * FROM unnest(%b::bigint[], %b::bytea[], %b::bigint[], %b::bigint[]) "
    f"AS given(source, cluster, first, last)) {_OVERLAPS}"
)
_SPANS_OF_ARRAYS = (
    "INSERT INTO span (source, body, day, cluster, first, last, n, failed) SELECT * FROM unnest("
    "%b::bigint[], %b::bigint[], %b::int[], %b::bytea[], %b::bigint[], %b::bigint[], %b::int[], %b::int[])"
)
_SPANS_OF_VALUES = (
    "INSERT INTO span (source, body, day, cluster, first, last, n, failed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


@functools.cache
def _of_values(count: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?)"] * count)
    return f"WITH q(source, cluster, first, last) AS (VALUES {rows}) {_OVERLAPS}"


def _overlapping(connection: Connection, asked: list[tuple[int, bytes, int, int]]) -> Any:
    """The spans that overlap with others, each given by source, cluster, first and last date.

    The drivers get the statements as they are: SQLAlchemy would take longer for them than the database.
    """
    if connection.dialect.name == "postgresql":
        arrays = tuple(map(list, zip(*asked, strict=True)))
        return connection.exec_driver_sql(_OF_ARRAYS, arrays)
    # Few different statements, because each is planned: the last row is repeated.
    rows = [*asked, *[asked[-1]] * ((1 << (len(asked) - 1).bit_length()) - len(asked))]
    return connection.exec_driver_sql(_of_values(len(rows)), tuple(itertools.chain.from_iterable(rows)))


class _TangledError(Exception):
    """A parcel overlaps with too many known events."""


def _without_known(
    connection: Connection, source: int, parcel: Parcel, known: _Spans, *, is_too_much: bool
) -> Parcel | None:
    """A parcel without the events that are known; None if no other is left. Raises _TangledError."""
    if is_too_much:
        raise _TangledError
    near = {
        (span.cluster, other)
        for span in parcel.spans
        for other in known.get((source, parcel.event_type, span.cluster), ())
        if other.first <= span.last and span.first <= other.last
    }
    if not near:
        return parcel
    counts = _counts(connection, source, near)
    body = json.loads(zlib.decompress(parcel.raw))
    rows = intake.rows(body)
    kept: list[int] = []
    for index, row in enumerate(rows):
        if counts[row] > 0:
            counts[row] -= 1
        else:
            kept.append(index)
    if not kept:
        return None
    if len(kept) == len(rows):
        return parcel
    # Its key stays, so that the same body is known when it comes again.
    left = intake.parcel(intake.reduced(body, kept), None)
    return replace(left, key=parcel.key, digest=parcel.digest)


def _counts(
    connection: Connection, source: int, near: set[tuple[bytes, _Known]]
) -> Counter[tuple[bytes, int]]:
    """How often the bodies of these spans hold each (cluster, date)."""
    counts: Counter[tuple[bytes, int]] = Counter()
    unread: dict[int | bytes, set[bytes]] = {}
    compared = 0
    for cluster, other in near:
        if other.first == other.last:
            counts[cluster, other.first] += other.n
        else:
            unread.setdefault(other.of, set()).add(cluster)
            compared += other.n
    if compared > MOST_COMPARED:
        raise _TangledError
    ids = [of for of in unread if isinstance(of, int)]
    raws = [(of, of) for of in unread if isinstance(of, bytes)]
    for chunk in _chunks(ids):
        query = select(BODY.c.id, BODY.c.raw).where(BODY.c.source == source, BODY.c.id.in_(chunk))
        raws += [(id_, bytes(raw)) for id_, raw in connection.execute(query)]
    for of, raw in raws:
        wanted = unread[of]
        counts.update(row for row in intake.rows(json.loads(zlib.decompress(raw))) if row[0] in wanted)
    return counts
