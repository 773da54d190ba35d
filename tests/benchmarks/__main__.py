"""Measures speed and weight, each beside a peer or a floor: ``python -m tests.benchmarks --help``."""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.benchmarks import peers, report
from tests.benchmarks.bench import Bench
from tests.benchmarks.collecting import Collecting
from tests.benchmarks.rows import ASIDE, ROWS

ROOT = Path(__file__).resolve().parents[2]


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("row", nargs="*", default=[*ROWS], help=f"of {', '.join(ROWS)}; default: all")
    quick = "few rounds, and some fifteen minutes instead of forty"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks", metavar="DIR")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the peers' environments here")
    parser.add_argument("--without-peers", action="store_true", help="measure beside floors only")
    parser.add_argument("--minutes", type=float, help="the time of the row idle (10, or 1)")
    publish = "put the table and the plots into the README of this directory"
    parser.add_argument("--publish", action="store_true", help=publish)
    options = parser.parse_args()
    if unknown := set(options.row) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if options.publish and (options.quick or options.without_peers or len(options.row) < len(ROWS)):
        parser.error("only a run of all rows, with peers and without --quick, is published")
    return options


def main():
    """Measure the chosen rows, and show and write the figures; 1 if a row could not be measured."""
    options = _options()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 200)
    scratches = tempfile.TemporaryDirectory(dir=out, prefix="scratch-")
    with console.status("peers") as status, scratches as scratch:
        wanted = () if options.without_peers else peers.PEERS
        there, missing = peers.prepare((options.keep or out / "peers").resolve(), wanted, status.update)
        minutes = options.minutes or (1 if options.quick else 10)
        with Collecting(Path(scratch)) as collector:
            bench = Bench(Path(scratch), collector, there, missing, options.quick, minutes, status.update)
            figures, failures = _measure(options.row, bench, console)
    facts, titles = report.machine_facts(out), [one.title for one in there]
    run = report.Run(facts, titles, figures, failures, quick=options.quick)
    report.write(run, out)
    if options.publish:
        report.publish(run, out)
    console.print(f"written to {out}")
    return 1 if failures else 0


def _measure(rows, bench, console):
    """The figures of these rows, and the reason of each row that failed."""
    figures, failures = [], {}
    with contextlib.ExitStack() as stack:
        aside = {name: stack.enter_context(bench.aside(ROWS[name])) for name in rows if name in ASIDE}
        for name in rows:
            try:
                for figure in aside[name].result() if name in aside else ROWS[name](bench):
                    figures.append(figure)
                    console.print(f"{name}: {report.in_words(figure)}", highlight=False, markup=False)
            except KeyboardInterrupt:
                failures[name] = "interrupted; the rows after it were not begun"
                break
            except Exception as error:  # noqa: BLE001 - a row that fails costs no other row
                failures[name] = repr(error)
                console.print(f"{name}: {failures[name]}", style="red", markup=False)
    return figures, failures


if __name__ == "__main__":
    sys.exit(main())
