"""Real Flower on loopback: a SuperLink with two SuperNodes, and the local simulation runtime.

It knows the commands of Flower 1.27 and of 1.41, which differ. Every process runs on the given side
(``sides.py``), and writes its output to a file there.
"""

import contextlib
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.e2e.sides import BIN, PATIENCE_S, RELEASE
from tests.support import ports, processes

APP = Path(__file__).parent / "app"
HOST = "127.0.0.1"
NODES = 2
END_PATIENCE_S = 60.0  # an orphan of Flower tries for half a minute to reach its parent
SPEAKS_HTTP = RELEASE >= (1, 41)  # on one port, instead of gRPC on many

# Variables for the ports of the SuperLink that `flwr run` starts: HTTP in 1.41, the others in 1.27.
LOCAL = {"options.num-supernodes": NODES, "options.backend.init-args.num-cpus": 2}
LOCAL_PORTS = [f"FLWR_LOCAL_{name}_API_PORT" for name in ("SUPERLINK_HTTP", "CONTROL", "SIMULATIONIO")]


class Program(NamedTuple):
    """A process of Flower, and the file of its output."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self):
        return self.log.read_text(errors="replace")

    def lives(self):
        """True if it runs; fails with its output if it has ended."""
        assert self.process.poll() is None, f"{self.log} ended: {self.process.returncode}\n{self.output}"
        return True

    def wait(self, timeout_s=PATIENCE_S):
        """Wait for the end, or kill it at the deadline; the return code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.wait(END_PATIENCE_S)


class Flower:
    """The commands of Flower on one side."""

    def __init__(self, side):
        self.side = side
        self.scratch = side.scratch / "flower"
        self.scratch.mkdir()

    def start(self, name, command, *arguments):
        """Start one of Flower's commands in its own session."""
        words = [*self.side.prefix, str(BIN / command), *arguments]
        env = processes.environment(self.side.home, self.side.environment)
        env["PATH"] = f"{BIN}:{env['PATH']}"  # where Flower finds the commands that it starts
        log = self.scratch / f"{name}.log"
        with log.open("wb") as out:
            options = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(words, env=env, cwd=self.scratch, start_new_session=True, **options)
        return Program(process, log)

    def begin_over(self, connection, run_config):
        """Start ``flwr run`` with a copy of the app over this connection; it ends with the run."""
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in connection.items())
        (self.side.home / "config.toml").write_text(f"[superlink.e2e]\n{lines}")
        copy = self.scratch / "app"  # `flwr run` may rewrite it
        shutil.copytree(APP, copy, ignore=shutil.ignore_patterns("__pycache__"))
        given = " ".join(f"{key.replace('_', '-')}={json.dumps(value)}" for key, value in run_config.items())
        return self.start("run", "flwr", "run", str(copy), "e2e", "--stream", "--run-config", given)

    def run_over(self, connection, run_config):
        """Run the app to its end; the status as in ``finished:completed``, and the output."""
        run = self.begin_over(connection, run_config)
        assert run.wait() == 0, run.output
        found = re.search(r"Successfully started run (\d+)", run.output)
        assert found, run.output
        status = processes.wait_until(lambda: self._end_status(found[1]), PATIENCE_S, run.output)
        return status, run.output

    def _end_status(self, run_id):
        ls = self.start("ls", "flwr", "ls", "e2e", "--run-id", run_id, "--format", "json")
        assert ls.wait() == 0, ls.output
        # gRPC may write of its own end behind it.
        found, _ = json.JSONDecoder().raw_decode(ls.output[ls.output.index("{") :])
        (row,) = found["runs"]
        return row["status"] if row["status"].startswith("finished") else None

    def living(self, command="fl"):
        """The processes of this home that run a command of Flower with this prefix."""
        return processes.processes_of(self.side.home, re.compile(re.escape(f"{BIN}/{command}")))

    def wait_for_end(self):
        """Wait until no command of Flower runs for this home; kill and fail at the deadline."""
        try:
            processes.wait_until(lambda: not self.living(), END_PATIENCE_S)
        except AssertionError:
            left = self.living()
            for pid in left:
                processes.kill(pid)
            raise AssertionError(f"killed what did not end: {left}") from None


class Federation(Flower):
    """A SuperLink with its SuperNodes, from when all are connected to the end of the last process.

    In the isolation ``process``, this class starts the SuperExecs; else Flower does.
    """

    def __init__(self, side, isolation="subprocess", nodes=NODES):
        super().__init__(side)
        self.isolation, self.nodes = isolation, nodes
        self.programs = {}  # in the order of their start

    def __enter__(self):
        try:
            self._start_all()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_exception):
        self.end()

    def run(self, **run_config):
        return self.run_over({"address": self.control, "insecure": True}, run_config)

    def begin(self, **run_config):
        return self.begin_over({"address": self.control, "insecure": True}, run_config)

    def end(self, number=signal.SIGINT):
        """End each process by a signal, in the reverse order of their start."""
        for program in reversed(self.programs.values()):
            program.end(number)
        self.wait_for_end()

    def return_codes(self):
        """The return code of each process that this class started; None if it still runs."""
        return {name: program.process.poll() for name, program in self.programs.items()}

    def _start_all(self):
        common = ["--insecure", "--isolation", self.isolation]
        # The addresses for runs, nodes and server apps, and one a node for client apps.
        found = ports.free(self.nodes + (1 if SPEAKS_HTTP else 3))
        found = found[:1] * (3 + self.nodes - len(found)) + found
        self.control, fleet, serverapps, *nodes = (f"{HOST}:{port}" for port in found)
        apis = {"--control-api-address": self.control, "--fleet-api-address": fleet}
        link = self._serve("superlink", common, {**apis, "--serverappio-api-address": serverapps})
        for port in found[:3]:
            processes.wait_until(lambda at=port: link.lives() and ports.listens(at), what=f"port {port}")
        for i, node in enumerate(nodes):
            config = ["--superlink", fleet, "--node-config", f"partition-id={i} num-partitions={self.nodes}"]
            self._serve(f"supernode-{i}", [*common, *config], {"--clientappio-api-address": node})
        for node in [program for name, program in self.programs.items() if name != "superlink"]:
            processes.wait_until(lambda n=node: n.lives() and "SuperNode ID" in n.output, what=node.log.name)
        if self.isolation == "process":
            self._execute("superexec", "serverapp", serverapps)
            for i, node in enumerate(nodes):
                self._execute(f"superexec-{i}", "clientapp", node)

    def _serve(self, name, words, addresses):
        where = [word for option in addresses.items() for word in option]
        if SPEAKS_HTTP:
            where = ["--host", HOST, "--port", next(iter(addresses.values())).rpartition(":")[2]]
        self.programs[name] = self.start(name, f"flower-{name.partition('-')[0]}", *words, *where)
        return self.programs[name]

    def _execute(self, name, kind, address):
        where = ["--plugin-type", kind, "--appio-api-address", address]
        if SPEAKS_HTTP:
            where = ["--runtime-api-address", address]
        self.programs[name] = self.start(name, "flower-superexec", "--insecure", *where)


def simulate(side, **run_config):
    """Run the app in the local simulation runtime, and end the SuperLink that Flower leaves behind."""
    with local(side) as flower:
        return flower.run_over(LOCAL, run_config)


@contextlib.contextmanager
def local(side):
    """Give Flower's commands, with ports for a local SuperLink, and end what they leave behind."""
    side.changes.update(zip(LOCAL_PORTS, map(str, ports.free(3)), strict=True))
    flower = Flower(side)
    try:
        yield flower
    finally:
        for pid in flower.living("flower-superlink"):
            processes.kill(pid, signal.SIGINT)
        flower.wait_for_end()
