"""The figures as Markdown and as JSON."""

import datetime as dt
import json
import platform
import shutil
import statistics
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks import plots
from tests.benchmarks.figures import Figure, Spread, number

HEADS = ("row", "what", "ours", "beside", "its", "ratio", "to reach", "reached", "n")
HERE = Path(__file__).parent
TIMES = "times"
_AS_FRACTION_BELOW = 0.5
_BEGIN, _END = "<!-- measured -->", "<!-- /measured -->"


@dataclass(frozen=True)
class Run:
    """The results of one run."""

    machine: dict[str, Any]
    peers: list[str]
    figures: list[Figure]
    failures: dict[str, str]
    """The reason of each row that could not be measured."""
    quick: bool


def write(run, directory):
    """Write the JSON, the Markdown (all figures, and those with a target), and the plots."""
    whole = {**vars(run), "figures": [figure.as_json() for figure in run.figures]}
    (directory / "benchmarks.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    (directory / "benchmarks.md").write_text(markdown(run), encoding="utf-8")
    aims = replace(run, figures=[figure for figure in run.figures if figure.target])
    (directory / "summary.md").write_text(markdown(aims), encoding="utf-8")
    plots.draw(run.figures, directory)


def publish(run, directory, here=HERE):
    """Replace the table in the README of a directory, and the plots beside it."""
    readme = here / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    readme.write_text(f"{before}{_BEGIN}\n{markdown(run)}{_END}{after}", encoding="utf-8")
    for name in (plots.LONE, plots.COST, plots.PEERS):
        if (directory / name).exists():
            shutil.copyfile(directory / name, here / name)


def markdown(run):
    quick = " By `--quick`." if run.quick else ""
    facts = run.machine
    machine = (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['kernel']}, "
        f"{facts['python']}, {facts['file_system']}, {facts['date']}"
    )
    lines = [
        f"Machine: {machine}.{quick} Medians, with the quartiles in "
        "brackets; ratios are those of rounds in turn. Beside: "
        + (", ".join(run.peers) or "no peers")
        + ", and floors.",
        "",
        f"| {' | '.join(HEADS)} |",
        "|" + " --- |" * len(HEADS),
        *(f"| {' | '.join(_cells(figure))} |" for figure in run.figures),
        *_misses(run.figures),
        *_cheaper_peers(run),
        *(f"\n`{row}` could not be measured: {why}" for row, why in run.failures.items()),
    ]
    return "\n".join(lines) + "\n"


def _misses(figures):
    """The targets that are missed, each with its reason."""
    missed = [figure for figure in figures if figure.is_reached is False]
    yield from ("", "Missed, and why:", "") if missed else ()
    for figure in missed:
        _, what, ours, beside, _, ratio, target, *_ = _cells(figure)
        reached = ours if figure.target.of == "ours" else f"{ratio} beside {beside}"
        yield f"* `{figure.row}`, {what}: {reached}, to reach {target}. {figure.why}".rstrip()


def _cheaper_peers(run):
    """The figures in which a peer does better than ours."""
    found = [
        figure
        for figure in run.figures
        if figure.beside.startswith(tuple(run.peers))
        and figure.ratios
        and statistics.median(figure.ratios) > 1
    ]
    yield from ("", "A peer is cheaper here:", "") if found else ()
    for figure in found:
        yield f"* `{figure.row}`, {in_words(figure)}"


def in_words(figure):
    """One figure on one line."""
    _, what, ours, beside, theirs, ratio, target, reached, _ = _cells(figure)
    target = f"; to reach {target}: {reached}" if target else ""
    return f"{what}: {ours}; {beside}: {theirs}; ratio {ratio}{target}"


def _cells(figure):
    return [
        figure.row,
        figure.what,
        _spread(figure.ours, figure.unit),
        f"{figure.beside} ({figure.note})" if figure.note else figure.beside,
        _spread(figure.theirs, figure.unit),
        _spread(figure.ratios, TIMES),
        figure.target.text if figure.target else "",
        {True: "yes", False: "no", None: ""}[figure.is_reached],
        str(max(len(figure.ours), len(figure.theirs)) or ""),
    ]


def _spread(values, unit):
    """A median with its quartiles."""
    if not values:
        return "-"
    of, say = Spread.of(values), number
    if unit == TIMES and of.most < _AS_FRACTION_BELOW:
        say, unit = lambda value: f"1/{number(1 / value)}", ""
    around = f" ({say(of.low)} to {say(of.high)})" if of.n > 1 and of.low != of.high else ""
    return f"{say(of.median)}{around} {unit}".rstrip()


def machine_facts(directory):
    """The facts about this machine; the file system is that of the directory."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    paths = (directory.resolve(), *directory.resolve().parents)
    return {
        "cpu": next(models, platform.processor() or platform.machine()),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "file_system": next((mounts[path] for path in paths if path in mounts), "unknown"),
        "flwr_telemetry": metadata.version("flwr-telemetry"),
        "flwr": metadata.version("flwr"),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
