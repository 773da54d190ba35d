"""The means of a row: the amount of work, homes on a real disk, the collector, and the peers."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.collecting import Collecting
from tests.benchmarks.figures import Figure
from tests.benchmarks.peers import Peer
from tests.support import homes, processes

PROGRAMS = Path(__file__).parent / "programs"
_REMOVED = ("FLWR_", "PYTHON", "DO_NOT_TRACK", "OTEL_", "SSL_", "REQUESTS_", "CURL_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@dataclass(frozen=True)
class Bench:
    """One run of the benchmarks."""

    directory: Path
    """For temporary files, on a real disk."""
    collector: Collecting
    contenders: list[Peer]
    """The peers that are installed."""
    missing: list[Peer]
    """The peers that are not, each with its reason."""
    quick: bool
    minutes: float
    """For the row ``idle``."""
    show: Callable[[str], None]
    """Shows the current step."""
    _serial: Iterator[int] = field(default_factory=itertools.count)
    _ends: threading.Event = field(default_factory=threading.Event)

    def pick(self, full, quick):
        return quick if self.quick else full

    def turns(self, count, what):
        """Yield the rounds and show them."""
        for number in range(count):
            self.show(f"{what}, {number + 1} of {count}")
            yield number

    def in_turn(self, count, what, measures):
        """Call each of these functions once a round; their values, under the same keys."""
        found = {key: [] for key in measures}
        for _ in self.turns(count, what):
            for key, measure in measures.items():
                found[key].append(measure())
        return {key: tuple(values) for key, values in found.items()}

    @contextlib.contextmanager
    def aside(self, work):
        """Do some work beside the rows, which does next to nothing; a future of its result.

        A thread of its own calls it with a bench that has another collector.
        """
        directory = self.directory / f"aside-{next(self._serial)}"
        directory.mkdir()
        with Collecting(directory) as collector, ThreadPoolExecutor(1) as pool:
            bench = replace(
                self, directory=directory, collector=collector, show=bool, _ends=threading.Event()
            )
            try:
                yield pool.submit(work, bench)
            finally:
                bench._ends.set()

    def rest(self, seconds):
        """Sleep, but no longer than the run.

        Raises:
            InterruptedError: the run has ended.
        """
        if self._ends.wait(seconds):
            raise InterruptedError("the run has ended")

    def against_peers(
        self, row, what, unit, found, *, beside="{0.title}", targets=None, note=lambda _one: "", why=""
    ):
        """Yield a figure for each peer; ``targets`` are by the peer's name."""
        mine = found[peers.OURS]
        if len(found) == 1:
            yield Figure(row, what, "-", unit, mine, note="without peers")
        for one in self.contenders:
            if one in found:
                target = (targets or {}).get(one.name)
                yield Figure(
                    row, what, beside.format(one), unit, mine, found[one], target, note(one), why=why
                )

    @contextlib.contextmanager
    def place(self, url=None, **settings):
        """Make the home directory of a user, with these settings in its ``.flwr``."""
        home = self.directory / f"home-{next(self._serial)}"
        home.mkdir()
        url = url or f"{self.collector.origin}/api/v1/event"
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in {"url": url, **settings}.items())
        homes.write_settings(home / ".flwr", text)
        try:
            yield home
        finally:
            processes.end_all(home / ".flwr")
            shutil.rmtree(home, ignore_errors=True)

    def environment(self, home, **changes):
        """The environment of a process in this home. Python may write bytecode, as after an installation."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_REMOVED) and name.lower() not in _PROXIES
        }
        own = {"SSL_CERT_DIR": self.collector.store, "HOME": str(home), "FLWR_HOME": str(home / ".flwr")}
        return {**kept, **own, **changes}

    def everybody(self, *names):
        """Ours first, then the installed peers; with names only these peers."""
        return [peers.OURS, *(one for one in self.contenders if not names or one.name in names)]

    def command(self, one, *arguments, origin=""):
        """The command by which ours or a peer reports, see ``programs/contenders.py``."""
        script = str(PROGRAMS / "contenders.py")
        return [*self.python(one), script, one.program, origin or self.collector.origin, *map(str, arguments)]

    def python(self, one):
        """The Python of ours or of a peer, which reads certifi's file; ours reads the system's store."""
        names = () if one is peers.OURS else ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
        return ["env", *(f"{name}={self.collector.bundle}" for name in names), str(one.python)]

    def tell(self, home, program, *arguments, **changes):
        """Run one of our programs with this Python; the JSON of its last line."""
        command = [sys.executable, str(PROGRAMS / program), *map(str, arguments)]
        return tell(command, self.environment(home, **changes))


def tell(command, environment):
    """Run a command, which must succeed; the JSON of its last line."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(command[:4])
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
