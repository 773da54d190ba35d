"""All figures of speed and weight, each beside a peer or a floor: ``python -m tests.benchmarks --help``."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks import machine, peers, report
from tests.benchmarks.bench import Bench
from tests.benchmarks.collecting import Collecting
from tests.benchmarks.rows import ROWS

ROOT = Path(__file__).resolve().parents[2]


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("row", nargs="*", default=[*ROWS], help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds, and ten minutes instead of half an hour"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks", metavar="DIR")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the peers' environments stay")
    parser.add_argument("--without-peers", action="store_true", help="floors alone")
    parser.add_argument("--minutes", type=float, help="for which the idle are watched (3, or 1)")
    parser.add_argument(
        "--publish", action="store_true", help="put table and plots into the README beside this"
    )
    options = parser.parse_args()
    if unknown := set(options.row) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if options.publish and (options.quick or options.without_peers or len(options.row) < len(ROWS)):
        parser.error("only a whole run is published")
    return options


def main():
    """Measure the rows that are asked for, and tell; 1 if one of them could not be measured."""
    options = _options()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 200)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        refresh_per_second=2,
    )
    with bar, tempfile.TemporaryDirectory(dir=out, prefix="scratch-") as scratch:
        task = bar.add_task("peers", total=len(options.row))
        wanted = () if options.without_peers else peers.PEERS
        there, missing = peers.prepare(
            (options.keep or out / "peers").resolve(),
            wanted,
            lambda what: bar.update(task, description=what),
        )
        with Collecting(Path(scratch)) as collector:
            bench = Bench(
                Path(scratch),
                collector,
                tuple(there),
                tuple(missing),
                options.quick,
                options.minutes or (1 if options.quick else 3),
                lambda what, share: bar.update(task, description=what, advance=share),
            )
            figures, failures = _measure(options.row, bench, console)
    run = report.Run(machine.facts(out), [one.title for one in there], figures, failures, quick=options.quick)
    report.write(run, out)
    if options.publish:
        report.publish(run, out)
    console.print(report.table(run))
    console.print(f"written to {out}")
    return 1 if failures else 0


def _measure(rows, bench, console):
    """The figures of these rows, and why some have none: the others are worth having."""
    figures, failures = [], {}
    for name in rows:
        try:
            for figure in ROWS[name](bench):
                figures.append(figure)
                console.print(f"{name}: {report.in_words(figure)}", highlight=False)
        except (RuntimeError, OSError, AssertionError, ValueError, LookupError) as error:
            failures[name] = repr(error)
            console.print(f"{name}: [red]{failures[name]}")
        except KeyboardInterrupt:
            failures[name] = "interrupted; the rows after it were not begun"
            break
    return figures, failures


if __name__ == "__main__":
    sys.exit(main())
