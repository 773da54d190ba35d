"""Writers meet faults: each costs no event but the writer's own, and the future of that one says so."""

import errno
import json
from dataclasses import dataclass

import pytest

from tests.support import homes, processes, records, wire

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
def test_locks_that_are_refused(zygote, home, collector, name, operations):
    """Writers and the sidecar do without: every event is spooled, and arrives once."""
    refuse = REFUSE_LOCKS.format(number=getattr(errno, name), operations=operations)
    emit = "print(json.dumps([outcome(event('PING', {'n': i})) for i in range(5)]))"
    assert zygote.answers(home, refuse + emit) == ["spooled"] * 5
    assert zygote.once(home, before=refuse).returncode == 0
    assert wire.serials(collector.events()) == [0, 1, 2, 3, 4]
    assert homes.unsent_files(home) == []


DEATHS = {
    "amid the write": (
        """
def die(descriptor, data):
    write(descriptor, bytes(data)[:{size}])
    os.kill(os.getpid(), signal.SIGKILL)
write, os.write = os.write, die
""",
        9,
    ),
    "by a limit on the size of files": (
        """
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
size = os.stat({path!r}).st_size
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 60, resource.RLIM_INFINITY))
""",
        25,
    ),
}


@pytest.mark.parametrize(
    ("how", "size"),
    [*(("amid the write", size) for size in (1, 2, 8, 9, 100, -1)), ("by a limit on the size of files", 60)],
)
def test_a_process_that_dies_inside_its_write(zygote, home, collector, how, size):
    """The torn bytes are counted as damage, and cost no event before or after them."""
    death, number = DEATHS[how]
    code = (
        'import resource, signal\nassert outcome(event("PING", {"n": 0})) == "spooled"\n'
        + death.format(size=size, path=str(homes.open_segment(home)))
        + 'for _ in range(9):\n    event("PING", {"n": 99})\n'
    )
    assert zygote.python(home, processes.PRELUDE + code).returncode == -number
    assert zygote.emit(home, 2, start_at=1) == ["spooled"] * 2
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [0, 1, 2]
    assert zygote.status(home)["totals"]["counters"]["damaged"] == 1
    assert homes.unsent_files(home) == []


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


def test_a_number_that_the_application_took(zygote, home, tmp_path):
    """After a process closed all that it did not know, only what is ours is written to, locked or closed."""
    done = zygote.workload(home, CLOSED, arguments=[str(tmp_path)])
    assert done.stdout == '[["spooled", "spooled", "spooled", "spooled"], ["untouched", 0, "untouched"]]\n'
    assert wire.serials(homes.spooled(home)) == [0, 1, 2, 3, 4, 5]


def test_all_standard_streams_closed(zygote, home):
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


FIRST, FIRST_HERE, LATER = "the first event", "the first event of a process", "a later event"
SPOOL = "flwr_telemetry.errors.Spool"


@dataclass(frozen=True)
class Fault:
    """A fault as code, which may use `place`, `aside` and `path`, the open segment."""

    comes: str
    goes: str
    says: str = "flwr_telemetry.errors."
    """How the answer to each event begins that is not spooled."""
    always: bool = True
    """Whether every event meanwhile must fail."""
    phases: tuple[str, ...] = (FIRST, FIRST_HERE, LATER)
    """When it is met; a process that cannot read its settings is off, and stays so for a while."""
    mounts: bool = False
    """Whether it takes a disk of its own."""


def failing(call, name, **options):
    return Fault(
        f"def fail(*_, **__):\n    raise OSError(errno.{name}, '')\n{call}, os.{call} = os.{call}, fail",
        f"os.{call} = {call}",
        SPOOL,
        **options,
    )


def few_descriptors(most):
    return Fault(
        f"""
if os.path.exists(path):
    os.unlink(path)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, limit[1]))
""",
        "resource.setrlimit(resource.RLIMIT_NOFILE, limit)",
        always=most == 3,
        phases=(LATER,),
    )


def trap(comes, goes):
    aside = "os.rename(place, aside)\n"
    return Fault(aside + comes, f"{goes}\nos.rename(aside, place)", SPOOL)


FAULTS = {
    "a full disk": failing("write", "ENOSPC"),
    "a broken disk": failing("write", "EIO"),
    "a stale handle": failing("lstat", "ESTALE", phases=(LATER,)),
    "a disk that takes a byte": Fault(
        "write = os.write\nos.write = lambda descriptor, data: write(descriptor, bytes(data)[:1])",
        "os.write = write",
        SPOOL,
    ),
    "no room in the file": Fault(
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))",
    ),
    **{f"{most} descriptors": few_descriptors(most) for most in range(3, 7)},
    "a disk that is full": Fault(
        """
with contextlib.suppress(OSError), open(filler, "ab", buffering=0) as file:
    while file.write(bytes(4096)):
        pass
""",
        "os.unlink(filler)",
        "flwr_telemetry.errors.SpoolFullError",
        always=False,  # some events may fit into the last block
        mounts=True,
    ),
    "a disk that is read-only": Fault(
        'mount("-o", "remount,bind,ro", os.path.dirname(home))',
        'mount("-o", "remount,bind,rw", os.path.dirname(home))',
        "flwr_telemetry.errors.SpoolWriteError",
        phases=(FIRST, FIRST_HERE),  # a file that is open for writing keeps the disk writable
        mounts=True,
    ),
}
# Each befalls the spool, the host's directory, or `telemetry`.
TRAPS = {
    "replaced by a link": trap(
        'shutil.copytree(aside, aside + "-theirs")\nos.symlink(aside + "-theirs", place)', "os.unlink(place)"
    ),
    "replaced by a file": trap('open(place, "w").close()', "os.unlink(place)"),
    "replaced by one open to all": trap("os.mkdir(place)\nos.chmod(place, 0o777)", "os.rmdir(place)"),
    "taken rights from": Fault(
        "os.chmod(place, 0)", "os.chmod(place, 0o700)", always=False
    ),  # root may write
}
MEET = """
import contextlib, errno, resource, shutil, subprocess, threading
home, place, aside, phase = sys.argv[1:]
path, filler = {path!r}, os.path.dirname(home) + "/filler"

def mount(*words):
    subprocess.run(["mount", *words], check=True)

def held():
    return sum(os.path.exists(f"/proc/self/fd/{{number}}") for number in range(256))

def no_child():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True

if phase == {LATER!r}:
    assert outcome(event("PING", {{"n": 0}})) == "spooled"
before = held()
{fault.comes}
told = [outcome(event("PING", {{"n": 99}})) for _ in range(200)]
{fault.goes}
after = outcome(event("PING", {{"n": 1}}))
print(json.dumps([told, after, held() - before, threading.active_count(), no_child()]))
"""


def meet(zygote, home, tmp_path, fault, phase, place=""):
    """Let a writer of 200 events meet a fault, and be well again."""
    if fault.mounts:
        zygote.shell(home, f"mount -t tmpfs -o size=1m,mode=700 none {home.parent}")
    if phase == FIRST_HERE:
        assert zygote.emit(home) == ["spooled"]
    code = MEET.format(fault=fault, LATER=LATER, path=str(homes.open_segment(home)))
    arguments = [str(home), str(place), str(tmp_path / "aside"), phase]
    told, after, held, threads, no_child = zygote.answers(home, code, arguments=arguments)
    failures = [line for line in told if line != "spooled"]
    assert all(line.startswith(fault.says) for line in failures), failures
    assert len(failures) == 200 or not fault.always
    assert (after, threads, no_child) == ("spooled", 1, True)
    assert held <= (phase != LATER), "descriptors are left"
    shown = zygote.command(home, "inspect", "--json").stdout.splitlines()
    numbers = [json.loads(line)["event_details"]["n"] for line in shown]
    assert numbers[-1] == 1
    assert numbers.count(99) == told.count("spooled")


@pytest.mark.parametrize(
    ("name", "phase"), [(name, phase) for name, fault in FAULTS.items() for phase in fault.phases]
)
def test_a_fault_ends(request, home, tmp_path, name, phase):
    """No event raises; none leaves a descriptor, a thread or a child; the next one after them works."""
    zygote = request.getfixturevalue("apart" if FAULTS[name].mounts else "zygote")
    meet(zygote, home, tmp_path, FAULTS[name], phase)


@pytest.mark.parametrize("most", range(3, 7))
def test_no_descriptor_to_load_modules(bare, home, tmp_path, most):
    meet(bare, home, tmp_path, FAULTS[f"{most} descriptors"], FIRST)


@pytest.mark.parametrize(
    ("place", "name", "phase"),
    [
        (place, name, phase)
        for place in (homes.spool, homes.host, homes.telemetry)
        for name in TRAPS
        for phase in (FIRST_HERE, LATER)
        # There the settings have a name and cannot be read, so telemetry is off in a process that begins.
        if (place, name, phase) != (homes.telemetry, "replaced by a file", FIRST_HERE)
    ],
)
def test_a_directory_that_becomes_a_trap(zygote, home, tmp_path, place, name, phase):
    """Nothing is written through it, the future says so, and when it is repaired the next event works."""
    meet(zygote, home, tmp_path, TRAPS[name], phase, place(home))
    theirs = [path.read_bytes() for path in tmp_path.glob("aside-theirs/**/events.msgpack")]
    assert [len(records.decode(data)) for data in theirs] == [1] * len(theirs)


# What happens to the directory `place`; `aside` is free.
HAPPENINGS = {
    "removed": "shutil.rmtree(place)",
    "moved away": "os.rename(place, aside)",
    "replaced by an empty one": "os.rename(place, aside)\nos.mkdir(place, 0o700)",
    "replaced by a copy": "os.rename(place, aside)\nshutil.copytree(aside, place)",
}
WORKLOAD = """
import shutil
place, aside = sys.argv[1:]
told = [outcome(event("PING", {"n": i})) for i in range(2)]
HAPPENS
told += [outcome(event("PING", {"n": i})) for i in range(2, 5)]
print(json.dumps(told))
"""


@pytest.mark.parametrize("happening", HAPPENINGS)
@pytest.mark.parametrize("level", ["spool", "host", "telemetry", "home"])
def test_a_directory_that_goes(zygote, home, tmp_path, level, happening):
    """The next event is in the spool that has the name now, and none is in two places or in none."""
    aside, place = tmp_path / "aside", home if level == "home" else getattr(homes, level)(home)
    code = WORKLOAD.replace("HAPPENS", HAPPENINGS[happening])
    assert zygote.answers(home, code, arguments=[str(place), str(aside)]) == ["spooled"] * 5
    here = wire.serials(homes.spooled(home))
    gone = [
        event for path in sorted(aside.rglob("events.msgpack")) for event in records.decode(path.read_bytes())
    ]
    assert here == ([0, 1, 2, 3, 4] if happening.endswith("copy") else [2, 3, 4])
    assert wire.serials(gone) == ([] if happening == "removed" else [0, 1])
    for directory in (homes.telemetry(home), homes.host(home), homes.spool(home)):
        assert homes.has_mode(directory, 0o700)


def test_a_home_that_comes_back_is_the_home(zygote, home, tmp_path):
    """A home that was away for some events, and is put back, has those of before and of after."""
    code = WORKLOAD.replace("HAPPENS", "os.rename(place, aside)").replace(
        "print(",
        "shutil.rmtree(place)\nos.rename(aside, place)\n"
        "told.append(outcome(event('PING', {'n': 9})))\nprint(",
    )
    told = zygote.answers(home, code, arguments=[str(home), str(tmp_path / "aside")])
    assert told == ["spooled"] * 6
    assert wire.serials(homes.spooled(home)) == [0, 1, 9]


EVENTS = 3000
RING = f"""
import signal
rings, over = 0, False
def ring(*_):
    global rings
    rings += 1
signal.signal(signal.SIGALRM, ring)
signal.siginterrupt(signal.SIGALRM, INTERRUPT)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
told = [outcome(event("PING", {{"n": i}})) for i in range({EVENTS})]
over = True
signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps([sorted(set(told)), rings]))
"""


@pytest.mark.parametrize("interrupt", [True, False], ids=["EINTR", "restarted"])
def test_a_timer_that_never_rests(bare, home, interrupt):
    """A signal every 300 µs from before the first event on: every event is spooled, and is there once."""
    told, rings = bare.answers(home, RING.replace("INTERRUPT", str(interrupt)))
    assert told == ["spooled"]
    assert rings > 100
    assert wire.serials(homes.spooled(home)) == list(range(EVENTS))


def test_a_timer_whose_handler_emits(bare, home):
    """Handlers that emit at every moment of the outer event, also amid its imports: each is there once."""
    handler = """    rings += 1
    inner.append(outcome(event("PING", {"n": -rings})))
    if not over:  # again, but not before this one is through
        signal.setitimer(signal.ITIMER_REAL, 0.001)
"""
    code = RING.replace("INTERRUPT", "True").replace("    rings += 1\n", handler)
    code = code.replace("0.0003, 0.0003", "0.001").replace("set(told)), rings", "set(told)), inner")
    told, inner = bare.answers(home, f"inner = []\n{code}")
    numbers = wire.serials(homes.spooled(home))
    assert (told, set(inner)) == (["spooled"], {"spooled"})
    assert numbers == list(range(-len(inner), EVENTS))


LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
told = [outcome(event("PING", {"n": n})) for n in range(50)]
print(json.dumps(told))
"""


def test_a_limit_that_kills_is_a_cap(home, collector):
    """As where a batch system limits files and a program embeds Python: events are dropped and counted."""
    told = processes.answers(home, LIMITED, processes.NEVER)
    kept = told.count("spooled")
    assert 0 < kept < 50
    assert all("ulimit -f" in words for words in told[kept:])
    homes.configure(home, collector.url)
    processes.deliver(home)
    assert wire.serials(collector.events()) == list(range(kept))
    counters = json.loads(processes.command(home, "status", "--json").stdout)["totals"]["counters"]
    assert (counters["damaged"], counters["dropped"]) == (0, 50 - kept)
