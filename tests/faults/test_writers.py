"""Writers' faults: locks, descriptors and deaths; whatever happens, it costs no other event."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING

import pytest

from tests.support import homes, processes, wire

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.zygote import Zygote
    from tests.support.collector import Collector

REFUSE_LOCKS = """
import fcntl
def refuse(descriptor, operation):
    if operation & {operations}:
        raise OSError({number}, os.strerror({number}))
    return flock(descriptor, operation)
flock, fcntl.flock = fcntl.flock, refuse
"""
EVERY_LOCK, ONLY_UNLOCK = 0b1111, 0b1000


@pytest.mark.parametrize("operations", [EVERY_LOCK, ONLY_UNLOCK], ids=["every lock", "unlock"])
@pytest.mark.parametrize(
    "name", ["ENOLCK", "EIO", "ENOSYS", "EOPNOTSUPP", "EINVAL", "EBADF", "ESTALE", "EPERM"]
)
def test_locks_that_are_refused(
    zygote: Zygote, home: Path, collector: Collector, name: str, operations: int
) -> None:
    """Writers and the sidecar do without: every event is spooled, and arrives once."""
    homes.configure(home, collector.url)
    refuse = REFUSE_LOCKS.format(number=getattr(errno, name), operations=operations)
    emit = "print(json.dumps([outcome(event('PING', {'n': i})) for i in range(5)]))"
    assert zygote.answers(home, refuse + emit) == ["spooled"] * 5
    once = (
        "import os, sys\n" + refuse + "from flwr_telemetryd.__main__ import main\nsys.exit(main(['--once']))"
    )
    done = zygote.python(home, once)
    assert (done.returncode, "Traceback" in done.said) == (0, False), done.said
    assert wire.serials(collector.events()) == [0, 1, 2, 3, 4]
    assert homes.unsent_files(home) == []


DIE_AFTER = """
import signal
assert outcome(event("PING", {{"n": 0}})) == "spooled"
def die(descriptor, data):
    write(descriptor, bytes(data)[:{size}])
    os.kill(os.getpid(), signal.SIGKILL)
write, os.write = os.write, die
event("PING", {{"n": 99}})
"""
DIE_AT_THE_LIMIT = """
import resource, signal
assert outcome(event("PING", {{"n": 0}})) == "spooled"
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
size = os.stat({path!r}).st_size
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 60, resource.RLIM_INFINITY))
for _ in range(9):
    event("PING", {{"n": 99}})
"""


def check_torn(zygote: Zygote, home: Path, collector: Collector) -> None:
    """Let another process go on after a death that left 0 whole and tore 99; deliver it all."""
    assert zygote.emit(home, 2, start_at=1) == ["spooled"] * 2
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [0, 1, 2]
    assert zygote.status(home)["totals"]["counters"]["damaged"] == 1
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize("size", [1, 2, 8, 9, 100, -1])
def test_a_process_killed_inside_its_write(
    zygote: Zygote, home: Path, collector: Collector, size: int
) -> None:
    """SIGKILL when a part of the record is written: the torn bytes cost no event before or after them."""
    homes.configure(home, collector.url)
    done = zygote.python(home, processes.PRELUDE + DIE_AFTER.format(size=size))
    assert done.returncode == -9
    check_torn(zygote, home, collector)


def test_a_process_killed_by_a_limit_inside_its_write(
    zygote: Zygote, home: Path, collector: Collector
) -> None:
    """The same by the system itself: a file that may not grow further, and SIGXFSZ for the next write."""
    homes.configure(home, collector.url)
    code = DIE_AT_THE_LIMIT.format(path=str(homes.open_segment(home)))
    done = zygote.python(home, processes.PRELUDE + code)
    assert done.returncode == -25
    check_torn(zygote, home, collector)


CLOSED = """
import fcntl, socket
assert outcome(event("PING", {"n": 0})) == "spooled"
os.closerange(3, 256)

# The application opens its own; one of them has the number that was our descriptor's.
files, numbers = [], []
for number in range(30):
    path = os.path.join(sys.argv[1], f"{number}.log")
    files.append((path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)))
    fcntl.flock(files[-1][1], fcntl.LOCK_EX)
pipes = [os.pipe() for _ in range(3)]
sockets = socket.socketpair()

def untouched():
    for path, descriptor in files:
        if os.path.getsize(path) or not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return path
        other = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return f"{path} is locked no more"
        except BlockingIOError:
            pass
        finally:
            os.close(other)
    return "untouched"

told = [outcome(event("PING", {"n": i})) for i in range(1, 4)]
seen = [untouched()]
pid = os.fork()
if pid == 0:
    ours = outcome(event("PING", {"n": 4}))
    os._exit(0 if (ours, untouched()) == ("spooled", "untouched") else 1)
seen.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
told.append(outcome(event("PING", {"n": 5})))
seen.append(untouched())
print(json.dumps([told, seen]))
"""


def test_a_number_that_the_application_took(zygote: Zygote, home: Path, tmp_path: Path) -> None:
    """After a process closed all that it did not know, only what is ours is written to, locked or closed."""
    done = zygote.workload(home, CLOSED, arguments=[str(tmp_path)])
    assert done.stdout == '[["spooled", "spooled", "spooled", "spooled"], ["untouched", 0, "untouched"]]\n'
    assert wire.serials(homes.spooled(home)) == [0, 1, 2, 3, 4, 5]


def test_all_standard_streams_closed(zygote: Zygote, home: Path) -> None:
    """A process without standard streams never finds its own words in the segment."""
    code = """
for number in range(3):
    os.close(number)
told = [outcome(event("PING", {"n": i})) for i in range(3)]
os.system("echo from a child; echo from a child >&2")
os._exit(0 if told == ["spooled"] * 3 else 1)
"""
    zygote.workload(home, code)
    assert wire.serials(homes.spooled(home)) == [0, 1, 2]


# How a cause of failure comes and goes, in a process that has emitted before.
CAUSES: dict[str, tuple[str, str]] = {
    "a spool open to all": ("os.chmod(spool, 0o777)\nos.unlink(path)", "os.chmod(spool, 0o700)"),
    "a file in place of the spool": (
        "os.rename(spool, spool + '-')\nopen(spool, 'w').close()",
        "os.unlink(spool)\nos.rename(spool + '-', spool)",
    ),
    "a FIFO in place of the segment": ("os.unlink(path)\nos.mkfifo(path)", "os.unlink(path)"),
    "a link in place of the segment": ("os.unlink(path)\nos.symlink(path + '-', path)", "os.unlink(path)"),
    "a full disk": (
        "def full(*_):\n    raise OSError(errno.ENOSPC, 'full')\nwrite, os.write = os.write, full",
        "os.write = write",
    ),
    "a broken disk": (
        "def broken(*_):\n    raise OSError(errno.EIO, 'broken')\nwrite, os.write = os.write, broken",
        "os.write = write",
    ),
    "a disk that takes a byte": (
        "write = os.write\nos.write = lambda descriptor, data: write(descriptor, bytes(data)[:1])",
        "os.write = write",
    ),
    "a stale handle": (
        "def stale(*_, **__):\n    raise OSError(errno.ESTALE, 'stale')\nstat, os.stat = os.stat, stale",
        "os.stat = stat",
    ),
    "no descriptor": (
        """
os.unlink(path)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
""",
        "resource.setrlimit(resource.RLIMIT_NOFILE, limit)",
    ),
    "no room in the file": (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))",
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_two_hundred_failures(zygote: Zygote, home: Path, cause: str) -> None:
    """None raises, none leaves a descriptor, a thread or a child, and the next event after them works."""
    comes, goes = CAUSES[cause]
    code = f"""
import errno, resource, threading
path = {str(homes.open_segment(home))!r}
spool = os.path.dirname(path)

def held():
    return sum(is_open(number) for number in range(256))

def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

def no_child():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True

assert outcome(event("PING", {{"n": 0}})) == "spooled"
before = held()
{comes}
told = {{outcome(event("PING", {{"n": 99}})) for _ in range(200)}}
{goes}
after = outcome(event("PING", {{"n": 1}}))
print(json.dumps([sorted(told), after, held() - before, threading.active_count(), no_child()]))
"""
    told, *after = zygote.answers(home, code)
    assert told
    assert all(line.startswith("flwr_telemetry.errors.Spool") for line in told), told
    assert after == ["spooled", 0, 1, True]
    shown = zygote.command(home, "inspect", "--json").stdout.splitlines()
    numbers = [json.loads(line)["event_details"]["n"] for line in shown]
    assert numbers[-1] == 1
    assert 99 not in numbers
