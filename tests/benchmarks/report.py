"""The figures for people and programs: a table, Markdown, JSON."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.benchmarks import machine, plots
from tests.benchmarks.figures import Figure, Spread, number

HEADS = ("row", "what", "ours", "beside", "its", "ratio", "to reach", "reached", "n")
HERE = Path(__file__).parent
TIMES = "times"
_AS_A_PART = 0.5  # below, a ratio is said as a fraction
_BEGIN, _END = "<!-- measured -->", "<!-- /measured -->"


@dataclass(frozen=True, slots=True)
class Run:
    """All of one run."""

    machine: dict[str, Any]
    peers: list[str]
    figures: list[Figure]
    failures: dict[str, str]
    quick: bool

    def as_json(self):
        """For the file."""
        return {
            "machine": self.machine,
            "peers": self.peers,
            "quick": self.quick,
            "figures": [figure.as_json() for figure in self.figures],
            "failures": self.failures,
        }


def write(run, directory):
    """The JSON, the Markdown (whole, and what has a target), and the plots."""
    (directory / "benchmarks.json").write_text(json.dumps(run.as_json(), indent=1) + "\n", encoding="utf-8")
    (directory / "benchmarks.md").write_text(markdown(run), encoding="utf-8")
    aims = replace(run, figures=[figure for figure in run.figures if figure.target])
    (directory / "summary.md").write_text(markdown(aims), encoding="utf-8")
    plots.draw(run.figures, directory)


def publish(run, directory, here=HERE):
    """Put the whole table where its marker is in the README of a directory, and the plots beside it."""
    text = (here / "README.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    table = f"{before}{_BEGIN}\n{markdown(run)}{_END}{after}"
    (here / "README.md").write_text(table, encoding="utf-8")
    for name in (plots.COST, plots.PEERS):
        if (directory / name).exists():
            shutil.copyfile(directory / name, here / name)


def table(run):
    """For a terminal."""
    shown = Table(*HEADS, title=machine.in_words(run.machine))
    for figure in run.figures:
        colour = {True: "green", False: "red", None: ""}[figure.is_reached]
        shown.add_row(*_cells(figure), style=colour)
    return shown


def markdown(run):
    """For a README."""
    quick = " By `--quick`." if run.quick else ""
    lines = [
        f"Machine: {machine.in_words(run.machine)}.{quick} Medians, with the quartiles in "
        "brackets; ratios are those of rounds in turn. Beside: "
        + (", ".join(run.peers) or "no peers")
        + ", and floors.",
        "",
        f"| {' | '.join(HEADS)} |",
        "|" + " --- |" * len(HEADS),
        *(f"| {' | '.join(_cells(figure))} |" for figure in run.figures),
    ]
    lines += [f"\n`{row}` could not be measured: {why}" for row, why in run.failures.items()]
    return "\n".join(lines) + "\n"


def in_words(figure):
    """One figure on one line."""
    _, what, ours, beside, theirs, ratio, target, reached, _ = _cells(figure)
    target = f"; to reach {target}: {reached}" if target else ""
    return f"{what}: {ours}; {beside}: {theirs}; ratio {ratio}{target}"


def _cells(figure):
    reached = {True: "yes", False: "no", None: ""}[figure.is_reached]
    beside = f"{figure.beside} ({figure.note})" if figure.note else figure.beside
    return [
        figure.row,
        figure.what,
        spread(figure.ours, figure.unit),
        beside,
        spread(figure.theirs, figure.unit),
        spread(figure.ratios, TIMES),
        figure.target.text if figure.target else "",
        reached,
        str(max(len(figure.ours), len(figure.theirs)) or ""),
    ]


def spread(values, unit):
    """A median with its quartiles."""
    if not values:
        return "-"
    of = Spread.of(values)
    if unit == TIMES and of.most < _AS_A_PART:
        say, unit = _part, ""
    else:
        say = number
    around = f" ({say(of.low)} to {say(of.high)})" if of.n > 1 and of.low != of.high else ""
    return f"{say(of.median)}{around} {unit}".rstrip()


def _part(value):
    return f"1/{number(1 / value)}"
