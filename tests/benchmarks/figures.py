"""What a benchmark gives: figures, each beside a peer or a floor that was taken in turn with it."""

import math
import statistics
from dataclasses import dataclass
from typing import Literal

_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached.

    Attributes:
        text: as people read it.
        of: what of the figure is held against the limits, by its median.
        at_most: the upper limit, if there is one.
        at_least: the lower limit, if there is one.
    """

    text: str
    of: Literal["ours", "ratio"]
    at_most: float | None = None
    at_least: float | None = None

    def is_reached_by(self, value):
        """Whether a median is within the limits."""
        too_much = self.at_most is not None and value > self.at_most
        return not too_much and (self.at_least is None or value >= self.at_least)


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with what lies around it."""

    median: float
    low: float  # the first quartile
    high: float  # the third quartile
    least: float
    most: float
    n: int

    @classmethod
    def of(cls, values):
        """The spread of at least one value."""
        low, median, high = (
            statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
        )
        return cls(median, low, high, min(values), max(values), len(values))


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        row: which benchmark.
        what: is measured.
        beside: the peer or the floor.
        unit: of both.
        ours: values, one a round.
        theirs: those of the peer or floor in the same rounds; empty if there is none.
        target: what is to be reached, if anything.
        note: what has to be known besides, as why a peer is missing.
        size: how many events it is about, for a plot.
    """

    row: str
    what: str
    beside: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    target: Target | None = None
    note: str = ""
    size: int = 0

    @property
    def ratios(self):
        """Ours over theirs, of each round; of the medians if the rounds are no pairs."""
        if not self.theirs or not self.ours or not all(self.theirs):
            return ()
        if len(self.ours) == len(self.theirs):
            return tuple(mine / other for mine, other in zip(self.ours, self.theirs, strict=True))
        return (statistics.median(self.ours) / statistics.median(self.theirs),)

    @property
    def is_reached(self):
        """Whether the target is reached; None without one, or without what is held against it."""
        values = () if self.target is None else self.ours if self.target.of == "ours" else self.ratios
        if self.target is None or not values:
            return None
        return self.target.is_reached_by(statistics.median(values))

    def as_json(self):
        """All of it, for a file."""
        spreads = {
            name: _spread_as_json(values)
            for name, values in (("ours", self.ours), ("theirs", self.theirs), ("ratio", self.ratios))
        }
        words = {name: getattr(self, name) for name in ("row", "what", "beside", "unit", "note")}
        target = self.target.text if self.target else None
        return {**words, **spreads, "target": target, "reached": self.is_reached}


def _spread_as_json(values):
    if not values:
        return None
    spread = Spread.of(values)
    names = ("median", "low", "high", "least", "most", "n")
    return {**{name: getattr(spread, name) for name in names}, "values": list(values)}


def quantile(values, percent):
    """So many percent of the values are below it."""
    return statistics.quantiles(values, n=100)[percent - 1]


def number(value):
    """Three digits that count, and no exponent."""
    if not value:
        return "0"
    places = max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"
