"""Real processes: workloads that emit, the commands, and the sidecar of a home."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TypeVar

import psutil

from tests.support import homes, zygote

T = TypeVar("T")

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
PATIENCE_S = 60.0  # an upper bound for what hangs, never a figure that a test asserts

NEVER = {"FLWR_TELEMETRY_SIDECAR": "never"}

# What a workload may use: outcome() tells a future in one word or one line. An event that is in memory,
# because a shared home takes a moment on this busy machine, is spooled once the helper thread is gone.
PRELUDE = """
import json, os, sys
from flwr_telemetry import EventType, event, flush

def _is_written():
    import threading, time
    for _ in range(2000):
        if not any(thread.name == "flwr-telemetry" for thread in threading.enumerate()):
            return True
        time.sleep(0.005)
    return False

def outcome(future):
    assert future.done()
    error = future.exception()
    if error is None:
        return future.result()
    if type(error).__name__ == "SpoolSlowError" and _is_written():
        return "spooled"
    return f"{type(error).__module__}.{type(error).__qualname__}: {error}"
"""

_SIDECAR_WORDS = re.compile(r"flwr[-_]telemetryd(?!\.cli)")


ready = None
"""The `Zygote` that forks what is run here, while a test has the fixture `forked`."""

_READ_LATE = ("FLWR_", "DO_NOT_TRACK", "SLURM_JOB_ID", "COLUMNS", "TMPDIR", "http_proxy", "https_proxy")


def _may_fork(env, options):
    """Whether a fork is as good as a start: it reads these variables later than the start of Python."""
    return ready is not None and not options and all(name.startswith(_READ_LATE) for name in env or ())


def restore_signals():
    """Give children the default action of the signals that `nohup` and a shell's `&` have everything ignore.

    A child ignores what this process ignores, but has the default action of what this process handles.
    """
    handlers = {
        "SIGINT": signal.default_int_handler,
        "SIGQUIT": signal.SIG_DFL,
        "SIGHUP": lambda *_: None,  # nohup asks this process to outlive its terminal
    }
    for number, handler in ((getattr(signal, name, None), handler) for name, handler in handlers.items()):
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def environment(home, changes=None):
    """Give the scrubbed environment of a process for this home; a change to None takes a name away."""
    chosen = {**os.environ, "FLWR_HOME": str(home), **(changes or {})}
    return {name: value for name, value in chosen.items() if value is not None}


def start(home, arguments, env=None, **options):
    """Start Python with these arguments."""
    return subprocess.Popen([sys.executable, *arguments], env=environment(home, env), text=True, **options)


def program(home, words, env=None, **options):
    """Run a program for this home, read what it prints to the end, and wait for it."""
    return subprocess.run(
        words,
        env=environment(home, env),
        text=True,
        capture_output=True,
        check=False,
        **{"timeout": PATIENCE_S, "stdin": subprocess.DEVNULL, **options},
    )


def run(home, arguments, env=None, **options):
    """Do that with Python and these arguments."""
    return program(home, [sys.executable, *arguments], env, **options)


def workload(home, code, env=None, **options):
    """Run a workload to its end; it must end well."""
    done = run(home, ["-c", PRELUDE + code], env, **options)
    assert done.returncode == 0, done.stderr
    return done


_REPORTER = """
for line in sys.stdin:
    sys.stdout.write(outcome(event("PING")) + "\\n")
    sys.stdout.flush()
"""


@contextlib.contextmanager
def reporter(home, env=None):
    """Start a workload that emits an event whenever it is asked; give what asks, and tells the outcome."""
    child = start(home, ["-c", PRELUDE + _REPORTER], env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    asked, told = child.stdin, child.stdout

    def emit_one():
        asked.write("\n")
        asked.flush()
        return str(told.readline()).rstrip()

    try:
        yield emit_one
    finally:
        child.communicate()


def answers(home, code, env=None, **options):
    """Run a workload that prints JSON as its last line, and give that."""
    return json.loads(workload(home, code, env, **options).stdout.splitlines()[-1])


def outcomes(home, calls, env=None, *, setup=""):
    """Give the outcome of `event(<call>)` for each of these, all in one workload."""
    lines = "\n".join(f"told.append(outcome(event({call})))" for call in calls)
    return answers(home, f"{setup}\ntold = []\n{lines}\nprint(json.dumps(told))", env)


def emit(home, n=1, details=None, env=None, *, start_at=0, event_type="PING"):
    """Emit n events numbered by their detail `n` from one workload, and give the outcomes."""
    code = f"""
details = json.loads({json.dumps(json.dumps(dict(details or {})))})
told = [outcome(event({event_type!r}, {{**details, "n": i}})) for i in range({start_at}, {start_at + n})]
print(json.dumps(told))
"""
    if not _may_fork(env, {}):
        return answers(home, code, env)
    done = ready.fork(home, PRELUDE + code, env, timeout_s=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def spool_events(home, n=1, details=None, **options):
    """Emit n events without ever starting a sidecar; all of them must be spooled."""
    env = {**NEVER, **options.pop("env", {})}
    assert emit(home, n, details, env, **options) == ["spooled"] * n


def flush(home, timeout_s, env=None):
    """Let a workload of its own flush, and give what it was told."""
    return answers(home, f"print(json.dumps(flush(timeout={timeout_s})))", env)


def once(home, env=None, **options):
    """Run `flwr-telemetryd --once` to its end."""
    if _may_fork(env, options):
        return ready.fork(home, zygote.ONCE, env, timeout_s=PATIENCE_S)
    return run(home, ["-m", "flwr_telemetryd", "--once"], env, **options)


def start_once(home):
    """Start `flwr-telemetryd --once`, heard by nobody."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return start(home, ["-m", "flwr_telemetryd", "--once"], **streams)


def deliver(home, env=None, *, times=1, **options):
    """Run `flwr-telemetryd --once`, so often at most, until it says that all is delivered."""
    for _ in range(times):
        done = once(home, env, **options)
        if done.returncode == 0:
            return
    message = f"--once ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    raise AssertionError(message)


def command(home, *arguments, env=None, **options):
    """Run `flwr-telemetry` with these arguments."""
    if _may_fork(env, options):
        return ready.fork(home, zygote.COMMAND, env, arguments=arguments, timeout_s=PATIENCE_S)
    return run(home, ["-m", "flwr_telemetryd.cli", *arguments], env, **options)


def wait_until(condition, timeout_s=PATIENCE_S, what=""):
    """Poll until the condition holds, and give its value; fail at the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline_s, f"waited in vain: {what or condition}"
        time.sleep(0.01)


def in_time(attempt, *, first_s, enough):
    """Attempt something within a short limit of time, and within longer ones on a busy machine."""
    limit_s = first_s
    while not enough(outcome := attempt(limit_s)) and 4 * limit_s < PATIENCE_S:
        limit_s *= 4
    return outcome


def wait_for_count(things, count):
    """Wait until there are so many of these, at least."""
    wait_until(lambda: len(things()) >= count, what=f"{count} of {things}")


def processes_of(home, words=re.compile("")):
    """Give every living process, but this one, that runs for this home: its id and command line.

    Where words are given, only those whose command line holds them.
    """
    found = {}
    named = _pid_in_sidecar_json(home)
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            line = " ".join(process.cmdline())
            if not words.search(line) or not _lives(process.pid):
                continue
            serves = _is_below(process.environ().get("FLWR_HOME", ""), home) or str(home) in line
            if serves or (process.pid == named and _SIDECAR_WORDS.search(line)):
                found[process.pid] = line
        except (psutil.Error, OSError):  # the second on Windows
            continue  # it ended while we looked
    return found


def _is_below(path, directory):
    return path == str(directory) or path.startswith(f"{directory}{os.sep}")


def sidecars(home):
    """Give the ids of the living sidecars of this home."""
    return sorted(processes_of(home, _SIDECAR_WORDS))


def _pid_in_sidecar_json(home):
    try:
        pid = json.loads((homes.host(home) / "sidecar.json").read_text())["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if isinstance(pid, int) else None


def running_sidecar(home):
    """Wait until the sidecar of this home tells its id and lives, and give the id."""

    def told():
        pid = _pid_in_sidecar_json(home)
        return pid if pid in sidecars(home) else None

    return int(wait_until(told, what="a sidecar that runs"))


def wait_for_end(home):
    """Wait until no sidecar of this home lives."""
    wait_until(lambda: not sidecars(home), what="the end of the sidecar")


KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has one way to end a process


def kill(pid, number=KILL):
    """Send a signal, and wait until the process is gone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):  # the latter on Windows, of a process that has just ended
        if _lives(pid):
            raise
        return
    wait_until(lambda: not _lives(pid), what=f"the end of process {pid}")


def _lives(pid):
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def end_all(home):
    """Kill what still runs for this home, until nothing does."""
    deadline_s = time.monotonic() + PATIENCE_S
    while left := processes_of(home):
        assert time.monotonic() < deadline_s, f"cannot end {left}"
        for pid in left:
            kill(pid)
