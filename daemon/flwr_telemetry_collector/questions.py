"""The questions of Flower's page on telemetry, and their answers in figures about sources.

A figure of fewer than ``SMALLEST`` sources is told as "< 5". All others are rounded to fives. Otherwise the
difference of two figures could give a small one away. Such two are a total and all cells but one, two
questions that split the same sources, or two reports of which the second has one source more. A share is in
whole percent, and is told only of enough sources. A label comes from a list, or has a form that identifies
nobody; every other value is "other".

In: a transaction that reads. Out: a ``Report``. A body counts for the day on which it was received, because
the clocks of senders may be wrong.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, select, text

from .schema import PROFILE
from .writer import today

SMALLEST = 5
FEW = f"< {SMALLEST}"
OTHER, UNKNOWN = "other", "unknown"

_EPOCH = date(1970, 1, 1)
_MOST_COLUMNS = 31
_MOST_VERSIONS = 8
_MOST_ROWS = 24
_WIDTHS_DAYS = (1, 7, 28, 91, 364)
_PACKAGES = {"flwr": "", "flwr-nightly": "nightly ", "flwr-datasets": "datasets "}
_SYSTEMS = {"Linux": "Linux", "Darwin": "macOS", "Windows": "Windows", "FreeBSD": "FreeBSD", "": UNKNOWN}
_MACHINES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "arm64": "arm64",
    "aarch64": "arm64",
    "i386": "x86",
    "i686": "x86",
    "armv7l": "armv7",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "": UNKNOWN,
}
_RELEASE = re.compile(
    r"(\d{1,3}\.\d{1,3})(?:\.\d{1,8})?(?:\.?(?:a|b|rc|dev|post)\d{1,8})?(?:\+.*)?", re.ASCII
)
_PYTHON = re.compile(r"(\d{1,2}\.\d{1,3})\..*", re.ASCII)
_IMPLEMENTATIONS = {"CPython": "", "PyPy": "PyPy ", "GraalVM": "GraalPy "}
_PROCESSORS = (2, 4, 8, 16, 32, 64, 128)
_MEMORY_GIB = (4, 8, 16, 32, 64, 128, 256, 512)
_AT_ONCE = (1, 3, 7)

Shown = int | str
"""A rounded figure, or ``FEW``."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table."""

    label: str
    cells: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A question with its table."""

    name: str
    question: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    unit: str = "sources"
    """``sources`` or ``percent``."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All answers."""

    since: date | None
    """The first day; None for all."""
    until: date
    sources: Shown
    events: Shown
    """To two digits."""
    answers: tuple[Answer, ...]
    smallest: int = SMALLEST

    def public(self) -> dict[str, Any]:
        """For JSON."""
        since = None if self.since is None else self.since.isoformat()
        return {**asdict(self), "since": since, "until": self.until.isoformat()}


def read(connection: Connection, since_day: int) -> Report:
    """Answer all questions from the bodies that were received on or after a day (days since the epoch)."""
    last_day = today()
    since = {"since": since_day}
    query = "SELECT count(DISTINCT source), coalesce(sum(count), 0), min(day) FROM body WHERE day >= :since"
    sources, events, first_day = connection.execute(text(query), since).one()
    profiles = {row.id: row for row in connection.execute(select(PROFILE))}
    pairs = connection.execute(text("SELECT DISTINCT source, profile FROM body WHERE day >= :since"), since)
    of_profile: dict[int, list[int]] = defaultdict(list)
    for source, profile in pairs:
        of_profile[profile].append(source)

    def table(name: str, question: str, label: Callable[[Any], str], order: Any = None) -> Answer:
        found: dict[str, set[int]] = defaultdict(set)
        for profile, of in of_profile.items():
            found[label(profiles[profile])].update(of)
        return Answer(name, question, ("sources",), _counted(found, order))

    answers = (
        _versions(connection, max(since_day, first_day or last_day), last_day, profiles, of_profile),
        table("systems", "On which operating systems and machines does Flower run?", _system),
        table("pythons", "Which Python versions does it run on?", _python, _by_number),
        table("processors", "How many processors do these machines have?", _processors, _by_number),
        table("memory", "How much memory do they have?", _memory, _by_number),
        _modes(connection, since),
        _completion(connection, since, profiles),
        _failures(connection, since),
    )
    return Report(
        since=None if since_day <= 0 else _EPOCH + timedelta(since_day),
        until=_EPOCH + timedelta(last_day),
        sources=shown(sources),
        events=FEW if sources < SMALLEST else _two_digits(int(events)),
        answers=answers,
    )


def shown(count: int) -> Shown:
    """A number of sources as it may be told."""
    return FEW if count < SMALLEST else (count + SMALLEST // 2) // SMALLEST * SMALLEST


def _two_digits(count: int) -> int:
    unit: int = 10 ** max(len(str(count)) - 2, 1)
    return count // unit * unit


def _counted(found: Mapping[str, Iterable[int]], order: Any = None) -> tuple[Row, ...]:
    """A row for each label; the largest first, or by ``order``."""
    counts = {label: len(set(sources)) for label, sources in found.items()}
    # By what is shown: the order must not tell which of two equal figures is larger.
    by_size = sorted(counts, key=lambda label: (label == OTHER, -figure_of(shown(counts[label])), label))
    chosen = by_size[:_MOST_ROWS]
    if order is not None:
        chosen.sort(key=order)
    return tuple(Row(label, (shown(counts[label]),)) for label in chosen)


def figure_of(cell: Shown) -> int:
    """The figure of a cell; 0 if it is too small to be told."""
    return cell if isinstance(cell, int) else 0


def _by_number(label: str) -> tuple[bool, list[int], str]:
    return not label[:1].isdigit(), [int(part) for part in re.findall(r"\d+", label)[:2]], label


def _version(profile: Any) -> str:
    """The release of a package; its third number does not matter for Flower's question."""
    prefix = _PACKAGES.get(profile.package)
    found = _RELEASE.fullmatch(profile.version)
    if not profile.package or profile.version in {"", UNKNOWN}:
        return UNKNOWN
    return OTHER if prefix is None or found is None else f"{prefix}{found[1]}"


def _system(profile: Any) -> str:
    machine = _MACHINES.get(profile.machine.lower(), OTHER)
    return f"{_SYSTEMS.get(profile.system, OTHER)}, {machine}"


def _python(profile: Any) -> str:
    found = _PYTHON.fullmatch(profile.python)
    prefix = _IMPLEMENTATIONS.get(profile.implementation, OTHER if profile.implementation else "")
    return OTHER if found is None or prefix == OTHER else f"{prefix}{found[1]}"


def _class(number: int | None, bounds: tuple[int, ...], unit: str = "") -> str:
    if number is None or number < 1:
        return UNKNOWN
    place = bisect.bisect_left(bounds, number)
    if place == len(bounds):
        return f"{bounds[-1] + 1} or more{unit}"
    first = bounds[place - 1] + 1 if place else 1
    return f"{first}{unit}" if first == bounds[place] else f"{first} to {bounds[place]}{unit}"


def _processors(profile: Any) -> str:
    return _class(profile.cpu_count, _PROCESSORS)


def _memory(profile: Any) -> str:
    return _class(profile.memory_gib, _MEMORY_GIB, " GiB")


def _at_once(workloads: int) -> str:
    return "alone" if workloads == 1 else f"{_class(workloads, _AT_ONCE)} at once"


def _versions(
    connection: Connection,
    first_day: int,
    last_day: int,
    profiles: Mapping[int, Any],
    of_profile: Mapping[int, list[int]],
) -> Answer:
    days = last_day - first_day + 1
    width = next((width for width in _WIDTHS_DAYS if days <= width * _MOST_COLUMNS), _WIDTHS_DAYS[-1])
    parts = min(-(-days // width), _MOST_COLUMNS)
    begin = last_day + 1 - parts * width
    total: dict[str, set[int]] = defaultdict(set)
    for profile, sources in of_profile.items():
        total[_version(profiles[profile])].update(sources)
    ordered = sorted(total, key=lambda label: (label in {OTHER, UNKNOWN}, -len(total[label]), label))
    named = sorted(ordered[:_MOST_VERSIONS], key=_by_number)
    labels = [*named, OTHER] if len(ordered) > _MOST_VERSIONS and OTHER not in named else named
    counts: dict[tuple[str, int], int] = {}
    if of_profile:
        chosen = {label: number for number, label in enumerate(labels)}
        values = ",".join(
            f"({profile},{chosen.get(_version(profiles[profile]), len(labels) - 1)})"
            for profile in sorted(of_profile)
        )
        query = text(
            f"WITH label(profile, place) AS (VALUES {values}) "  # noqa: S608 - numbers of ours
            "SELECT l.place, (b.day - :begin) / :width AS part, count(DISTINCT b.source) FROM body b "
            "JOIN label l ON l.profile = b.profile WHERE b.day >= :begin "
            "GROUP BY l.place, (b.day - :begin) / :width"
        )
        numbers = {"begin": begin, "width": width}
        for place, part, count in connection.execute(query, numbers):
            counts[labels[place], part] = count
    columns = tuple((_EPOCH + timedelta(begin + part * width)).isoformat() for part in range(parts))
    rows = tuple(
        Row(label, tuple(shown(counts.get((label, part), 0)) for part in range(parts))) for label in labels
    )
    each = "day" if width == 1 else f"{width} days from that day on"
    question = "Which versions of Flower are in use, and since when?"
    return Answer("versions", question, columns, rows, note=f"A column is a {each}." if rows else "")


def _modes(connection: Connection, since: dict[str, int]) -> Answer:
    found: dict[str, set[int]] = defaultdict(set)
    query = text("SELECT DISTINCT type, source FROM body WHERE day >= :since")
    for event_type, source in connection.execute(query, since):
        found[_mode(event_type)].add(source)
    return Answer("modes", "In which mode does Flower start?", ("sources",), _counted(_folded(found)))


def _mode(event_type: str) -> str:
    return event_type.removesuffix("_ENTER").removesuffix("_LEAVE")


def _folded(found: Mapping[str, set[int]]) -> dict[str, set[int]]:
    """Modes of few sources become one: the name of an event type may be anything."""
    folded: dict[str, set[int]] = defaultdict(set)
    for mode, sources in found.items():
        folded[mode if len(sources) >= SMALLEST else OTHER] |= sources
    return folded


def _completion(connection: Connection, since: dict[str, int], profiles: Mapping[int, Any]) -> Answer:
    """Of what started, the share that ended, by mode and version."""
    query = text("""
        SELECT e.type, e.profile, e.source, sum(e.n),
               sum(CASE WHEN l.n IS NULL THEN 0 WHEN l.n < e.n THEN l.n ELSE e.n END)
        FROM (SELECT s.source, s.cluster, b.type, min(b.profile) AS profile, sum(s.n) AS n
              FROM body b JOIN span s ON s.source = b.source AND s.body = b.id
              WHERE b.day >= :since AND b.type LIKE '%#_ENTER' ESCAPE '#'
              GROUP BY s.source, s.cluster, b.type) e
        LEFT JOIN (SELECT s.source, s.cluster, b.type, sum(s.n) AS n
              FROM body b JOIN span s ON s.source = b.source AND s.body = b.id
              WHERE b.day >= :since AND b.type LIKE '%#_LEAVE' ESCAPE '#'
              GROUP BY s.source, s.cluster, b.type) l
          ON l.source = e.source AND l.cluster = e.cluster
             AND substr(l.type, 1, length(l.type) - 6) = substr(e.type, 1, length(e.type) - 6)
        GROUP BY e.type, e.profile, e.source""")
    every = "all versions"
    totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    sources: dict[tuple[str, str], set[int]] = defaultdict(set)
    for event_type, profile, source, started, ended in connection.execute(query, since):
        for version in (every, _version(profiles[profile])):
            place = _mode(event_type), version
            totals[place][0] += int(started)
            totals[place][1] += int(ended)
            sources[place].add(source)
    by_mode = {mode: of for (mode, version), of in sources.items() if version == every}
    modes = sorted(mode for mode, of in by_mode.items() if len(of) >= SMALLEST)
    sizes: dict[str, int] = defaultdict(int)
    for (_, version), of in sources.items():
        sizes[version] += len(of) * (version != every)
    ordered = sorted((version for version in sizes if sizes[version]), key=lambda version: -sizes[version])
    versions = sorted(ordered[:_MOST_VERSIONS], key=_by_number)

    def share(mode: str, version: str) -> Shown:
        started, ended = totals[mode, version]
        return FEW if len(sources[mode, version]) < SMALLEST else round(100 * ended / started)

    rows = [Row(mode, tuple(share(mode, version) for version in (every, *versions))) for mode in modes]
    if len(modes) < len(by_mode):
        rows.append(Row(OTHER, (FEW,) * (1 + len(versions))))
    question = "Which devices complete what they start?"
    note = "The share of starts whose end was reported, too. What still runs counts as not ended."
    return Answer("completion", question, (every, *versions), tuple(rows), "percent", note)


def _failures(connection: Connection, since: dict[str, int]) -> Answer:
    """Sources with failures: how often, and how many of their workloads ran at the same time."""
    query = text("""
        SELECT source, cluster, min(first), max(last), sum(failed) FROM span
        WHERE source IN (SELECT source FROM span WHERE failed > 0 AND day >= :since) AND day >= :since
        GROUP BY source, cluster ORDER BY source""")
    found: dict[tuple[str, str], int] = defaultdict(int)
    for _, of_source in itertools.groupby(connection.execute(query, since), key=lambda row: row[0]):
        clusters = [(first, last, failed) for _, _, first, last, failed in of_source]
        begins = sorted(first for first, _, _ in clusters)
        ends = sorted(last for _, last, _ in clusters)
        failures = [(first, last) for first, last, failed in clusters if failed]
        most = max(
            bisect.bisect_right(begins, last) - bisect.bisect_left(ends, first) for first, last in failures
        )
        found["again" if len(failures) > 1 else "once", _at_once(most)] += 1
    columns = tuple(_at_once(number) for number in (1, 2, 4, 8))
    rows = (
        Row(f"failed {often}", tuple(shown(found[often, column]) for column in columns))
        for often in ("once", "again")
    )
    question = "Does an issue recur on one source, or come from several workloads at once?"
    note = "A column is the number of workloads of the source that ran when one of them failed."
    return Answer("failures", question, columns, tuple(rows), note=note)
