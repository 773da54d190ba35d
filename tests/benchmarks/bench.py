"""What every row of the suite is given: how much to do, where to do it, a collector, and the peers."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.collecting import Collecting
from tests.benchmarks.peers import Contender, Missing
from tests.support import homes, processes

PROGRAMS = Path(__file__).parent / "programs"
_HEARD = ("FLWR_", "PYTHON", "DO_NOT_TRACK", "OTEL_", "SSL_", "REQUESTS_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the suite.

    Attributes:
        directory: for scratch, on a real disk.
        collector: the process that is delivered to.
        contenders: the peers that are there.
        missing: those that are not, and why.
        quick: whether a few rounds must do.
        minutes: how long the idle are watched.
        advance: is told what is being done, and which part of the row it is.
    """

    directory: Path
    collector: Collecting
    contenders: tuple[Contender, ...]
    missing: tuple[Missing, ...]
    quick: bool
    minutes: float
    advance: Callable[[str, float], None]
    _serial: Iterator[int] = field(default_factory=itertools.count)

    def pick(self, full, quick):
        """How many, by how much is to be done."""
        return quick if self.quick else full

    def turns(self, count, what, *, share=1.0):
        """Count the rounds, and tell of them; ``share`` is their part of the row."""
        for number in range(count):
            self.advance(f"{what}, {number + 1} of {count}", 0)
            yield number
            self.advance(what, share / count)

    @contextlib.contextmanager
    def place(self, url=None, **settings):
        """A user's home directory for the length of a block, with settings of ours in its ``.flwr``."""
        home = self.directory / f"home-{next(self._serial)}"
        home.mkdir()
        lines = {"url": url or self.url, "ca_bundle": self.collector.bundle, **settings}
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        homes.write_settings(home / ".flwr", text)
        try:
            yield home
        finally:
            processes.end_all(home / ".flwr")
            shutil.rmtree(home, ignore_errors=True)

    @property
    def url(self):
        """Where our own events go."""
        return f"{self.collector.origin}/api/v1/event"

    def environment(self, home, **changes):
        """What a process has that lives in this home; installed packages have their bytecode."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_HEARD) and name.lower() not in _PROXIES
        }
        authorities = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), self.collector.bundle)
        return {**kept, **authorities, "HOME": str(home), "FLWR_HOME": str(home / ".flwr"), **changes}

    def everybody(self):
        """Ourselves first, then the peers that are there."""
        return (peers.OURS, *self.contenders)

    def contend(self, home, one, *counts, **changes):
        """Let ourselves or a peer report from this home to the collector; see ``programs/program.py``."""
        return tell(self.command(one, *counts), self.environment(home, **changes))

    def command(self, one, *counts, origin=""):
        """What runs the program of a peer."""
        script = str(PROGRAMS / one.script)
        return [str(one.python), script, origin or self.collector.origin, *map(str, counts)]

    def tell(self, home, program, *arguments, **changes):
        """Run one of our programs by this Python, and give the JSON that it prints at its end."""
        command = [sys.executable, str(PROGRAMS / program), *map(str, arguments)]
        return tell(command, self.environment(home, **changes))


def tell(command, environment):
    """Run a command to its good end, and give the JSON of its last line."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(command[:4])
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
