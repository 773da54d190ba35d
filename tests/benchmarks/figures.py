"""Figures: each stands beside a peer or a floor that was measured in turn with it."""

import math
import statistics
from dataclasses import dataclass
from typing import Literal, NamedTuple

_DIGITS = 3


class Target(NamedTuple):
    """A limit for a median."""

    text: str
    of: Literal["ours", "ratio"]
    at_most: float = math.inf
    at_least: float = -math.inf


class Spread(NamedTuple):
    """A median, the first and the third quartile, the extremes, and the number of values."""

    median: float
    low: float
    high: float
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


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    row: str
    what: str
    beside: str
    """The peer or the floor."""
    unit: str
    ours: tuple[float, ...]
    """One value a round."""
    theirs: tuple[float, ...] = ()
    """The values of the peer or floor in the same rounds."""
    target: Target | None = None
    note: str = ""
    size: int = 0
    """The number of events, for a plot."""
    why: str = ""
    """The reason why it misses its target, in one sentence with a floor of the same run."""

    @property
    def ratios(self):
        """Ours over theirs in each round; of the medians if the rounds are no pairs."""
        if not self.theirs or not self.ours or not all(self.theirs):
            return ()
        if len(self.ours) == len(self.theirs):
            return tuple(mine / other for mine, other in zip(self.ours, self.theirs, strict=True))
        return (statistics.median(self.ours) / statistics.median(self.theirs),)

    @property
    def is_reached(self):
        """Whether the median reaches the target; None without a target or without values."""
        values = () if self.target is None else self.ours if self.target.of == "ours" else self.ratios
        if not values:
            return None
        return self.target.at_least <= statistics.median(values) <= self.target.at_most

    def as_json(self):
        names = ("row", "what", "beside", "unit", "note")
        values = {"ours": self.ours, "theirs": self.theirs, "ratio": self.ratios}
        return {
            **{name: getattr(self, name) for name in names},
            **{name: _spread_as_json(of) if of else None for name, of in values.items()},
            "target": self.target.text if self.target else None,
            "reached": self.is_reached,
            "why": self.why,
        }


def _spread_as_json(values):
    return {**Spread.of(values)._asdict(), "values": list(values)}


def quantile(values, percent):
    """The value that so many percent of the values are below."""
    return statistics.quantiles(values, n=100)[percent - 1]


def number(value):
    """Three significant digits, without an exponent."""
    if not value:
        return "0"
    places = max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"
