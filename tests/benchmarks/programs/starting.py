"""Import and first event of a process: ``python starting.py bare|flwr [floor]``; it prints milliseconds.

With ``floor``: an import of a loaded module, an append of the same length to a new file, the calls by which
the contract has a first event ask for consent and for its IDs, append safely, and look for a sidecar, and the
import of what the first event imports.
"""

import contextlib
import fcntl
import json
import os
import sys
import time

CLOCK = time.perf_counter
RECORD = b"x" * 520
NEW = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW


def ours():
    begin = CLOCK()
    from flwr_telemetry import event

    imported = CLOCK()
    future = event("PING", {"backend": "ray", "num-supernodes": 10})
    done = CLOCK()
    assert future.result() == "spooled"
    return {"import_ms": 1e3 * (imported - begin), "first_ms": 1e3 * (done - imported)}


def floors():
    begin = CLOCK()
    from json import dumps  # noqa: F401

    imported = CLOCK()
    path = os.path.join(os.environ["HOME"], f"bare-{os.getpid()}")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, RECORD)
    os.close(descriptor)
    appended = CLOCK()
    protocol(os.environ["FLWR_HOME"])
    called = CLOCK()
    import flwr_telemetry.emit

    loaded = CLOCK()
    import flwr_telemetry.emitter  # noqa: F401

    moments = {
        "import_ms": (begin, imported),
        "append_ms": (imported, appended),
        "calls_ms": (appended, called),
        "load_ms": (loaded, CLOCK()),
    }
    return {name: 1e3 * (end - start) for name, (start, end) in moments.items()}


def protocol(home):
    """Make the calls of a first event, in its order, by bare code."""
    telemetry = f"{home}/telemetry"
    spool = f"{telemetry}/host/spool"
    for _ in range(2):  # consent is asked again before a file is created
        for name in ("/etc/flwr/telemetry.toml", f"{telemetry}/config.toml", f"{home}/source"):
            read(name)
        os.stat(home)
        os.geteuid()
    for name in ("/proc/self/mountinfo", "/etc/passwd", sys.executable, f"{telemetry}/noticed"):
        read(name)
    os.uname()
    for path in (telemetry, f"{telemetry}/host", spool):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        os.lstat(path)
    path = f"{spool}/{os.getpid()}"
    descriptor = os.open(path, NEW, 0o600)
    os.fstat(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.lstat(path)
    os.write(descriptor, RECORD)
    os.fstat(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    lock = os.open(f"{telemetry}/host/lock", NEW, 0o600)
    os.fstat(lock)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


def read(path):
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    os.fstat(descriptor)
    os.read(descriptor, 1 << 16)
    os.close(descriptor)


if sys.argv[1] == "flwr":
    import flwr.simulation
    import flwr.supercore.telemetry  # noqa: F401
print(json.dumps(floors() if sys.argv[2:] == ["floor"] else ours()))
