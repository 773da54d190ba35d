"""Commands on a home whose file server is away: none of them waits for it."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys

import psutil
import pytest

from flwr_telemetryd.inspect import file_server
from tests.support import homes, netfs, processes

QUICKLY = """
import os
from typer.testing import CliRunner
from flwr_telemetryd.cli import main, run
from flwr_telemetryd.cli.app import app
from flwr_telemetryd.inspect import file_server
file_server.ANSWER_S = float(os.environ.get("ANSWER_S", "0.2"))
"""
COMMANDS = [
    *("status --json", "flush", "inspect", "disable", "enable", "source", "forget --yes", "purge --yes"),
    *("fields", "service status", "service logs", "relay file", "doctor --json"),
]


@pytest.fixture
def mount(home, tmp_path):
    if netfs.missing():
        pytest.skip(netfs.missing())
    homes.configure(home, "http://127.0.0.1:9/", sidecar="never")
    with netfs.mounted(home, tmp_path / "mount", netfs.Traits()) as mount:
        yield mount


@contextlib.contextmanager
def away(mount):
    """Stop the file server of a mount while the block lasts."""
    (process,) = (
        process
        for process in psutil.process_iter(["cmdline"])
        if {netfs.__file__, str(mount)} <= {*(process.info["cmdline"] or [])}
    )
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_no_command_waits_for_a_server_that_is_away(home, mount):
    code = f"""{QUICKLY}
ended = {{}}
for words in {COMMANDS}:
    result = CliRunner().invoke(app, words.split())
    ended[words] = result.exit_code, result.output
run.run_command(["/missing"], dict(os.environ))
print(json.dumps(ended))
"""
    before = homes.contents(home)
    with away(mount):
        done = processes.workload(mount, code)
    ended = json.loads(done.stdout)
    sentence = f"the file server of {mount} (fuse.netfs) does not answer"
    for words, (code, said) in ended.items():
        assert (words, code) == (words, 1 if words.startswith("doctor") else 5)
        assert sentence in said
    assert "the opt-out could not be written" in ended["disable"][1]
    found = {check["name"]: check for check in json.loads(ended["doctor --json"][1])["checks"]}
    assert found["home"]["verdict"] == "fault"
    assert "collector" not in found
    assert f"{sentence}, so its settings cannot be read, and telemetry is off" in done.stderr
    assert homes.contents(home) == before


def test_a_server_that_goes_away_in_the_midst_of_a_command(home, mount):
    processes.spool_events(mount)
    words = ["-c", f"{QUICKLY}main()", "inspect", "--follow", "--json"]
    env = {"ANSWER_S": "3"}  # a busy machine may be slow to answer
    following = processes.start(mount, words, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "PING" in following.stdout.readline()
    with away(mount):
        _, complained = following.communicate(timeout=processes.PATIENCE_S)
    assert following.returncode == 5
    assert f"the file server of {mount}" in complained
    assert "not all was done" in complained


ASK = """
from pathlib import Path
from flwr_telemetry import mounts
from flwr_telemetryd.errors import UnusableHomeError
from flwr_telemetryd.inspect import file_server

def told(path):
    try:
        return file_server.check(Path(path)) or ""
    except UnusableHomeError as error:
        return str(error)
"""


def test_a_server_that_answers(mount):
    """The caller of a command may wait for all that it has started, so the child that asks ends with it."""
    told = f"[told({str(mount)!r}), told({str(mount / 'missing')!r})]"
    code = f"file_server.check(Path({str(mount)!r}), print); print(json.dumps({told}))"
    assert processes.answers(mount, ASK + code) == ["", ""]
    processes.wait_until(lambda: not processes.processes_of(mount, re.compile("def told")))


def test_a_training_that_run_starts_gets_no_child(home, mount):
    words = ["run", "--", sys.executable, "-c", "import os; os.waitpid(-1, 0)"]
    done = processes.command(mount, *words)
    assert done.stderr.rstrip().endswith("ChildProcessError: [Errno 10] No child processes")
    with away(mount):
        done = processes.run(mount, ["-c", f"{QUICKLY}main()", *words])
    assert "telemetry is off for this command" in done.stderr
    assert done.stderr.rstrip().endswith("No child processes")


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN])
def test_a_call_that_ends_by_itself_is_no_answer(home, tmp_path, monkeypatch, number):
    """A home of this machine is not asked."""
    monkeypatch.delattr(os, "fork")
    file_server.check(tmp_path)
    monkeypatch.undo()
    (tmp_path / "mountinfo").write_text("1 0 0:9 / / rw - nfs server:/ rw,soft\n")
    code = f"""
mounts._TABLE = {str(tmp_path / "mountinfo")!r}
def fail(_path):
    raise OSError({number}, "")
found = [told("/home")]
os.statvfs = fail
print(json.dumps([*found, told("/home")]))
"""
    answered, failed = processes.answers(home, ASK + code)
    assert answered == ""
    assert "does not answer" in failed
