"""Homes on network file systems: hosts that see each other's doings late, and locks and handles that fail.

Whatever such a file system does, each event of which a writer was told "spooled" is delivered, once after
de-duplication by key, nobody ends with a traceback, and in the end nothing is left.
"""

import contextlib
import dataclasses
import errno
import random
import signal
import subprocess
import sys
import time

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetry.spool.posix import Writer
from flwr_telemetryd.errors import ExitCode
from flwr_telemetryd.outbox import batch, discard
from flwr_telemetryd.spool import segments
from tests.support import faults, homes, hosts, netfs, processes, records, wire
from tests.support.netfs import Traits

SERVICE = ["-m", "flwr_telemetryd", "--service"]
ONCE = ["-m", "flwr_telemetryd", "--once"]
WRITER = """
import random, time
first, count, longest_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for n in range(first, first + count):
    told = outcome(event("PING", {"n": n}))
    assert told == "spooled", told
    time.sleep(random.choice([0, 0, 0, longest_s]))
"""
EVENTS = 40

pytestmark = pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())


class Shared:
    """A home on a server, the mounts of the hosts that share it, and the logs of their processes."""

    def __init__(self, server, mounts, logs):
        self.server = server
        self.mounts = mounts
        self._logs = logs
        self._started = []

    def start(self, host, words, **env):
        log = self._logs / f"{host}.{len(self._started)}"
        with log.open("wb") as said:
            process = subprocess.Popen(
                hosts.on(host, [sys.executable, *words]),
                env=processes.environment(self.mounts[host], env),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        self._started.append(process)
        return process

    def serve(self, host):
        """Start a service; when this returns, it has reported itself alive, or has ended."""
        before = self._state(host)
        service = self.start(host, SERVICE)
        # A killed one has left its state, and one that has not begun yet would die of SIGTERM.
        processes.wait_until(
            lambda: self._state(host) not in {before, None} or service.poll() is not None, what="a service"
        )
        return service

    def _state(self, host):
        with contextlib.suppress(FileNotFoundError):
            return Home(self.server).host(host).state.read_bytes()
        return None

    def write(self, host, first, *, longest_s=0.05, **env):
        """Start a writer of ``EVENTS`` events."""
        code = processes.PRELUDE + WRITER
        return self.start(host, ["-c", code, str(first), str(EVENTS), str(longest_s)], **env)

    def write_all(self, *on, **options):
        """Let a writer on each of these hosts come to its end; the numbers of their events."""
        writers = [self.write(host, n * EVENTS, **options) for n, host in enumerate(on)]
        assert [writer.wait(processes.PATIENCE_S) for writer in writers] == [0] * len(on), self.said()
        return list(range(len(on) * EVENTS))

    def serve_what_a_node_writes(self, **options):
        """Let services on both login nodes adopt the spool of a node, where writers pause now and then."""
        hosts = ("login1", "login2")
        services = [self.serve(host) for host in hosts]
        for host in hosts:  # a writer that begins earlier rightly starts a sidecar
            processes.wait_until(Home(self.server).heartbeat(host).exists)
        told = self.write_all("node1", "node1", "login1", **options)
        self.settle()
        self.end(*services)
        assert not (homes.host(self.server, "node1") / "sidecar.lock").exists(), self.said()
        return told

    def settle(self):
        """Wait until nothing is left, while services or sidecars are at it."""
        try:
            processes.wait_until(lambda: not homes.unsent_files(self.server), 20, what="delivery")
        except AssertionError:
            raise AssertionError(f"{homes.unsent_files(self.server)}\n{self.said()}") from None

    def deliver(self, times=8):
        """Run ``--once`` on one host after the other until nothing is left."""
        for _ in range(times):
            for host, mount in self.mounts.items():
                processes.wait_for_end(mount)
                assert self.start(host, ONCE).wait(processes.PATIENCE_S) in {0, 1}, self.said()
            if not homes.unsent_files(self.server):
                return
        raise AssertionError(f"{homes.unsent_files(self.server)}\n{self.said()}")

    def end(self, *services):
        for service in services:
            service.send_signal(signal.SIGTERM)
        assert [service.wait(processes.PATIENCE_S) for service in services] == [0] * len(services)

    def said(self):
        """Give all that was said, by processes and in the logs of sidecars."""
        return homes.stable(
            lambda: "\n".join(
                f"{log}:\n{log.read_text()}"
                for log in (
                    *self._logs.iterdir(),
                    *homes.find(homes.telemetry(self.server), "*/sidecar.log*"),
                )
            )
        )

    def close(self):
        """End what still runs; nobody may have met what it did not know."""
        for mount in self.mounts.values():
            processes.end_all(mount)
        for process in self._started:
            process.wait(processes.PATIENCE_S)
        assert "Traceback" not in self.said(), self.said()


@contextlib.contextmanager
def shared(home, node, login=None):
    with contextlib.ExitStack() as stack:
        mounts = {}
        for name, traits in (("node1", node), ("login1", login or node), ("login2", login or node)):
            unlocked = dataclasses.replace(traits, locks="unanswered")  # whoever tries a lock, hangs
            mounts[name] = stack.enter_context(netfs.mounted(home, home.parent / name, unlocked))
        logs = home.parent / "logs"
        logs.mkdir()
        yield stack.enter_context(contextlib.closing(Shared(home, mounts, logs)))


QUICK = {"adopt_after_s": 0.1, "burst_window_s": 0.05, "idle_exit_s": 0.2}


@pytest.fixture
def collector(home, collector):
    """Give the collector of a home where others' spools are adopted at once."""
    homes.configure(home, collector.url, **QUICK)
    return collector


def check(collector, told):
    """Each event that was told of was delivered, once after de-duplication."""
    assert wire.serials(collector.events()) == told


def test_sidecars_on_demand(home, collector):
    """They come and go on all hosts, and share the work by renames."""
    with shared(home, Traits(stale="removed")) as network:
        told = network.write_all("node1", "node1", "login1")
        network.deliver()
        check(collector, told)


def test_a_host_has_one_sidecar(home, collector):
    """A sidecar that comes later finds the claim of the first one, and ends."""
    with shared(home, Traits(cache_s=1)) as network:
        service = network.serve("login1")
        second = network.start("login1", ["-m", "flwr_telemetryd"])
        assert second.wait(processes.PATIENCE_S) == ExitCode.BUSY
        network.end(service)


def test_services_that_are_killed_amid_their_work(home, collector):
    """The next one takes over at once what its host left unfinished."""
    chance = random.Random()
    with shared(home, Traits(cache_s=0.5, stale="removed", retransmit=7)) as network:
        on = "node1", "node1", "login1", "login2"
        writers = [network.write(host, n * EVENTS, longest_s=0.4) for n, host in enumerate(on)]
        services = {}
        while any(writer.poll() is None for writer in writers):
            for host in ("login1", "login2"):
                if host not in services or services[host].poll() is not None:
                    services[host] = network.serve(host)
            time.sleep(chance.uniform(0, 0.5))
            services[chance.choice(list(services))].kill()
        assert [writer.returncode for writer in writers] == [0] * len(writers), network.said()
        for service in services.values():
            service.kill()
            service.wait()
        services = [network.serve(host) for host in ("login1", "login2")]
        network.settle()
        network.end(*services)
        check(collector, list(range(len(writers) * EVENTS)))


# A trait of the node's mount, and of the login nodes' if that differs, and the longest pause of a writer.
TRAITS = {
    # A file that another host renames or removes is seen for one second more.
    "names and attributes seen late": (Traits(cache_s=1, stale="removed"), None, 0.4),
    # A file or directory that another host moves is gone for a process that has it open.
    "stale handles": (Traits(stale="moved", cache_s=0.3), None, 0.4),
    # They are done, and answered by ENOENT.
    "renames and removals sent again": (Traits(retransmit=1), None, 0.3),
    "a server whose clock is ahead": (Traits(skew_s=600.0), Traits(skew_s=-600.0), 0.3),
    "a server whose clock is behind": (Traits(skew_s=-600.0), Traits(skew_s=600.0), 0.3),
}


@pytest.mark.parametrize("name", TRAITS)
def test_services_adopt_what_a_node_writes(home, collector, name):
    """Services on two hosts and writers on a third meet such a file system."""
    homes.configure(home, collector.url, **QUICK, bursts=name != "stale handles")
    node, login, longest_s = TRAITS[name]
    with shared(home, node, login) as network:
        check(collector, network.serve_what_a_node_writes(longest_s=longest_s))


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EIO])
def test_a_close_that_fails(home, collector, number):
    """The data may be kept or not, so it is written again; no event is sent under two keys."""
    with shared(home, Traits(close_errno=number)) as network:
        told = network.write_all("node1", "login1")
        network.deliver()
        check(collector, told)


@pytest.mark.parametrize("stays", [True, False], ids=["it has a silly name", "it is gone"])
def test_a_writer_at_the_file_server_is_stopped_while_its_segment_is_adopted(
    home, tmp_path, collector, monkeypatch, stays
):
    """It has the home on its own disk, with an open segment, and no other host sees its lock."""
    with netfs.mounted(home, tmp_path / "login1", Traits(locks="unanswered")) as login:
        writer = Writer(Home(home).host(), lambda: True, lambda: None)
        first, second = map(records.encode, records.series(2))
        writer.append(first, 1e9)
        host = Home(login).host()

        def adopt():
            segments.seal(host, 1)
            taken = batch.take(host, "owner", 1)
            if stays:
                opened.enter_context(homes.find(taken.path, "*.msgpack")[0].open("rb"))
            batch.write(taken, bursts=True, hardware={})
            discard.discard(host, batch.commit(taken), "owner", 9)

        with contextlib.ExitStack() as opened:
            faults.amid(monkeypatch, adopt)
            writer.append(second, 1e9)
        writer.close()
    processes.deliver(home)
    check(collector, [0, 1])


def test_once_delivers_the_open_segment_of_another_host(home, tmp_path, collector):
    """It is taken a moment after it was sealed, and ``--once`` does not end before."""
    homes.configure(home, collector.url, adopt_after_s=0)
    homes.put(home, records.series(2), host_of="fileserver")
    with netfs.mounted(home, tmp_path / "mount", Traits()) as mount:
        processes.deliver(mount)
    check(collector, [0, 1])


def test_switching_off_while_a_segment_is_open(home, tmp_path, collector):
    """Everything else is deleted, and that segment by the file system, when it is closed."""
    with netfs.mounted(home, tmp_path / "mount", Traits()) as mount:
        root = homes.host(home)
        with processes.reporter(mount, processes.NEVER) as emit:
            assert [emit(), emit()] == ["spooled"] * 2
            with homes.find(homes.host(mount), "spool/sealed-*")[0].open("rb"):
                done = processes.command(mount, "disable")
                assert (done.returncode, done.stderr) == (0, "")
                (kept,) = [path for path in homes.find(root, "**/*") if path.is_file()]
                assert kept.name.startswith(".nfs")
            processes.wait_until(lambda: emit() == "disabled" and not kept.exists())
        assert processes.command(mount, "enable").returncode == 0
        processes.spool_events(mount)
        processes.deliver(mount)
        assert [path for path in root.iterdir() if path.name.startswith(".")] == []
        check(collector, [0])


def test_files_that_are_removed_while_they_are_open(home, collector):
    """Until they are closed they have silly names, which are not taken for files of ours."""
    homes.configure(home, collector.url, **QUICK, bursts=False)
    collector.answer_by(lambda _request: 503)
    with shared(home, Traits()) as network, contextlib.ExitStack() as opened:
        told = network.write_all("node1", longest_s=0, FLWR_TELEMETRY_SIDECAR="never")
        mount = network.mounts["login1"]
        node, login = (homes.host(mount, name) for name in ("node1", "login1"))
        opened.enter_context(homes.find(node, "spool/sealed-*")[0].open("rb"))
        service = network.serve("login1")
        processes.wait_until(lambda: len(homes.find(login, "outbox/*/*.json")) == len(told))
        for path in homes.find(login, "outbox/*/*.json"):
            opened.enter_context(path.open("rb"))
        for directory in (homes.telemetry(mount), node / "spool", login / "work", login / "outbox"):
            opened.enter_context((directory / "stray").open("wb"))
            (directory / "stray").unlink()
        collector.answer_by(lambda _request: 200)
        flush = hosts.on("login1", [sys.executable, "-m", "flwr_telemetryd.cli", "flush"])
        done = processes.program(mount, flush)
        assert (done.returncode, done.stderr) == (0, "")
        check(collector, told)
        kept = {str(path.parent.relative_to(mount)) for path in homes.find(mount, "**/.nfs*")}
        known = "telemetry telemetry/node1/spool telemetry/login1/work telemetry/login1/outbox"
        assert {*known.split()} < kept
        assert len(kept) == 5  # and the batch
        opened.close()
        service.send_signal(signal.SIGHUP)
        processes.wait_until(lambda: not node.exists() and not homes.tree(login / "outbox"))
        assert homes.find(home, "**/.nfs*") == []
        network.end(service)


def test_a_name_that_is_remembered_after_it_is_gone(home, tmp_path, collector):
    """Where opening asks nobody, a removed segment is found again and again: the event goes to a new one."""
    traits = Traits(cache_s=3600)
    with (
        netfs.mounted(home, tmp_path / "one", traits) as mount,
        processes.reporter(mount, processes.NEVER) as emit,
    ):
        assert [emit(), emit()] == ["spooled"] * 2
        for _ in range(2):
            processes.deliver(home)  # on the server, of which this mount hears nothing
            assert [emit(), emit()] == ["spooled"] * 2
        processes.deliver(home)
    assert wire.bag(collector.events()).total() == 6
