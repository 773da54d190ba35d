"""Nodes without a network write their bodies to one file; a machine with a network delivers each once."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter

import pytest

from tests.support import homes, processes, wire
from tests.support.processes import PATIENCE_S, PRELUDE, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="a node without a network needs root on Linux",
)

EACH = 300
_NODE = ["unshare", "--net", "--uts", "sh", "-ec", 'hostname "$0" && exec "$@"']
_EMIT = """
first, count, bursts = map(int, sys.argv[1:])
for n in range(first, first + count):
    # Events whose details have different names are no burst.
    assert event("PING", {"n": n} if bursts else {"n": n, f"d{n}": ""}).result() == "spooled"
assert flush(timeout=60)
"""


def _on_node(name, home, first, *, bursts):
    """Start a workload on a host without even a loopback; a sidecar there delivers to the file."""
    words = [sys.executable, "-c", PRELUDE + _EMIT, str(first), str(EACH), str(int(bursts))]
    return subprocess.Popen([*_NODE, name, *words], env=processes.environment(home))


def _keys(line):
    """The keys of a line at a collector that refuses bursts."""
    key, count = wire.key_of(line), len(wire.expand(line))
    return {key} if count == 1 else {wire.member_key(key, n) for n in range(count)}


@pytest.mark.heavy
def test_bodies_that_nodes_wrote_to_a_file_arrive_once_though_relays_are_killed(tmp_path, home, collector):
    """Three nodes write at once; two relays are killed; the collector refuses bursts, and fails twice."""
    file, nodes_home = tmp_path / "shared" / "metrics.jsonl", tmp_path / "nodes" / ".flwr"
    for directory in (file.parent, nodes_home.parent):
        directory.mkdir(mode=0o700)
    homes.configure(nodes_home, file.as_uri(), idle_exit_s=0)
    nodes = [_on_node(f"node{n}", nodes_home, EACH * n, bursts=n == 2) for n in range(3)]
    try:
        assert [node.wait(PATIENCE_S) for node in nodes] == [0, 0, 0]
        processes.wait_for_end(nodes_home)
    finally:
        processes.end_all(nodes_home)
    written = file.read_bytes()
    lines = written.splitlines()
    assert wire.serials(wire.expand_all(lines)) == list(range(3 * EACH))
    assert written.count(b"\n") == len(lines) > 2 * EACH
    assert any(b'"burst"' in line for line in lines)

    failures = [503] * 2

    def decide(request):
        if b'"burst"' in request.body:
            return 422
        return failures.pop() if len(collector.accepted) > 550 and failures else 200

    collector.answer_by(decide)
    homes.configure(home, collector.url)
    words = ["-m", "flwr_telemetryd.cli", "relay", str(file)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "process_group": 0}
    for count in (100, 550):
        relay = processes.start(home, words, **options)
        wait_until(lambda count=count: len(collector.accepted) >= count, what=f"{count} bodies")
        os.killpg(relay.pid, signal.SIGKILL)
        relay.communicate()
        processes.wait_for_end(home)
    relay = processes.start(home, words, **options)
    said, _ = relay.communicate(timeout=PATIENCE_S)
    assert relay.returncode == 0, said
    assert not failures

    keys = {key for line in lines for key in _keys(line)}
    assert set(collector.accepted) == keys
    assert wire.serials(collector.events()) == list(range(3 * EACH))
    tried = Counter(request.key for request in collector.requests)
    again = {key: times for key, times in tried.items() if key in keys and times > 1}
    assert sum(again.values()) - len(again) <= 2 + 2  # in flight when it was killed, and what failed
    assert (homes.unsent_files(home), file.read_bytes()) == ([], written)
    done = processes.command(home, "relay", str(file))
    assert (done.returncode, done.stdout) == (0, f"Nothing new in {file}.\n")
