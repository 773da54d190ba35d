"""Real Flower, on loopback: a SuperLink with two SuperNodes, and the local simulation runtime.

Knows the commands of Flower 1.27 and of 1.41, which differ. Every process runs on the side that is given
(``sides.py``), and has a file of its own there for what it prints.
"""

import json
import re
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.sides import BIN, PATIENCE_S, RELEASE, Side
from tests.support import processes

APP = Path(__file__).parent / "app"
HOST = "127.0.0.1"
NODES = 2
END_PATIENCE_S = 60.0  # an orphan of Flower tries for half a minute to reach who is gone
SPEAKS_HTTP = RELEASE >= (1, 41)  # on one port, instead of gRPC on many

# Variables for the ports of the SuperLink that `flwr run` starts: HTTP in 1.41, the others in 1.27.
LOCAL_PORTS = [f"FLWR_LOCAL_{name}_API_PORT" for name in ("SUPERLINK_HTTP", "CONTROL", "SIMULATIONIO")]


@dataclass(frozen=True)
class Run:
    """What became of a run: its status as in ``finished:completed``, and what was printed."""

    status: str
    output: str


@dataclass(frozen=True)
class Program:
    """A process of Flower, and the file that holds what it prints."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self):
        return self.log.read_text(errors="replace")

    def lives(self):
        """Tell that it runs; fail with its output if it has ended, as there is nothing to wait for."""
        assert self.process.poll() is None, f"{self.log} ended: {self.process.returncode}\n{self.output}"
        return True

    def wait(self, timeout_s=PATIENCE_S):
        """Wait for the end, kill at the deadline, and give the return code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def end(self, number=signal.SIGINT):
        """Ask for the end by a signal, and wait for it."""
        self.process.send_signal(number)
        return self.wait(END_PATIENCE_S)


@dataclass
class Flower:
    """The commands of Flower on one side."""

    side: Side

    def __post_init__(self):
        self.scratch = self.side.scratch / "flower"
        self.scratch.mkdir()

    def start(self, name, command, *arguments):
        """Start one of Flower's commands, in a session of its own."""
        words = [*self.side.prefix, str(BIN / command), *arguments]
        env = processes.environment(self.side.home, self.side.environment)
        env["PATH"] = f"{BIN}:{env['PATH']}"  # where Flower finds the commands that it starts
        with (self.scratch / f"{name}.log").open("wb") as out:
            options = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(words, env=env, cwd=self.scratch, start_new_session=True, **options)
        return Program(process, self.scratch / f"{name}.log")

    def begin_over(self, connection, run_config):
        """Begin to run a copy of the app over this connection; what is given ends with the run."""
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in connection.items())
        (self.side.home / "config.toml").write_text(f"[superlink.e2e]\n{lines}")
        copy = self.scratch / "app"  # `flwr run` may rewrite it
        shutil.copytree(APP, copy, ignore=shutil.ignore_patterns("__pycache__"))
        given = " ".join(f"{key.replace('_', '-')}={json.dumps(value)}" for key, value in run_config.items())
        return self.start("run", "flwr", "run", str(copy), "e2e", "--stream", "--run-config", given)

    def run_over(self, connection, run_config):
        """Do that, wait for the end of the run, and give its status."""
        run = self.begin_over(connection, run_config)
        assert run.wait() == 0, run.output
        found = re.search(r"Successfully started run (\d+)", run.output)
        assert found, run.output
        status = processes.wait_until(lambda: self._ended_as(found[1]), PATIENCE_S, run.output)
        return Run(status, run.output)

    def living(self, command="fl"):
        """Give what runs for this home of Flower's commands whose name starts so."""
        return processes.processes_of(self.side.home, re.compile(re.escape(f"{BIN}/{command}")))

    def wait_for_end(self):
        """Wait until no command of Flower runs for this home; kill what does not end by itself."""
        try:
            processes.wait_until(lambda: not self.living(), END_PATIENCE_S)
        except AssertionError:
            left = self.living()
            for pid in left:
                processes.kill(pid)
            raise AssertionError(f"killed what did not end: {left}") from None

    def _ended_as(self, run_id):
        ls = self.start("ls", "flwr", "ls", "e2e", "--run-id", run_id, "--format", "json")
        assert ls.wait() == 0, ls.output
        (row,) = json.loads(ls.output[ls.output.index("{") :])["runs"]
        return row["status"] if row["status"].startswith("finished") else None


@dataclass
class Federation(Flower):
    """A SuperLink with its SuperNodes, from when all are connected to the end of the last process.

    In the isolation ``process``, what starts the apps is started by us; else by Flower.
    """

    isolation: str = "subprocess"
    nodes: int = NODES
    programs: dict[str, Program] = field(default_factory=dict)  # in the order of their start

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
        """Run the app on this federation, and wait for the end of the run."""
        return self.run_over(self._connection, run_config)

    def begin(self, **run_config):
        """Begin to run the app on this federation."""
        return self.begin_over(self._connection, run_config)

    def end(self, number=signal.SIGINT):
        """End what starts apps, the SuperNodes and the SuperLink by a signal, one after the other."""
        for program in reversed(self.programs.values()):
            program.end(number)
        self.wait_for_end()

    def return_codes(self):
        """Give the return code of each process that we started, None for what still runs."""
        return {name: program.process.poll() for name, program in self.programs.items()}

    @property
    def _connection(self):
        return {"address": self.control, "insecure": True}

    def _start_all(self):
        common = ["--insecure", "--isolation", self.isolation]
        self.control, fleet, serverapps, *nodes = self._free_addresses()
        apis = {"--control-api-address": self.control, "--fleet-api-address": fleet}
        link = self._serve("superlink", common, {**apis, "--serverappio-api-address": serverapps})
        for address in (self.control, fleet, serverapps):
            processes.wait_until(lambda at=address: link.lives() and listens(at), what=address)
        for i, node in enumerate(nodes):
            config = ["--superlink", fleet, "--node-config", f"partition-id={i} num-partitions={self.nodes}"]
            self._serve(f"supernode-{i}", [*common, *config], {"--clientappio-api-address": node})
        for node in [program for name, program in self.programs.items() if name != "superlink"]:
            processes.wait_until(lambda n=node: n.lives() and "SuperNode ID" in n.output, what=node.log.name)
        if self.isolation == "process":
            self._execute("superexec", "serverapp", serverapps)
            for i, node in enumerate(nodes):
                self._execute(f"superexec-{i}", "clientapp", node)

    def _free_addresses(self):
        """Give those for runs, for nodes and for server apps, and that of each node for client apps."""
        ports = free_ports(self.nodes + (1 if SPEAKS_HTTP else 3))
        return [f"{HOST}:{port}" for port in ports[:1] * (3 + self.nodes - len(ports)) + ports]

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
    """Run the app in the local simulation runtime, on free ports, and end the SuperLink it leaves behind."""
    side.changes.update(zip(LOCAL_PORTS, map(str, free_ports(3)), strict=True))
    flower = Flower(side)
    options = {"options.num-supernodes": NODES, "options.backend.init-args.num-cpus": 2}
    try:
        return flower.run_over(options, run_config)
    finally:
        for pid in flower.living("flower-superlink"):
            processes.kill(pid, signal.SIGINT)
        flower.wait_for_end()


def free_ports(count):
    """Give so many ports that nobody uses: all are held until the last is found."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in held]


def listens(address):
    """Tell whether somebody takes connections there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0
