"""Processes by the hundred: an interpreter that has everything loaded and forks for each command.

Most tests are a home in some state and a few real processes that meet it. Starting an interpreter for
each takes a quarter of a second; a fork of one that is ready takes a hundredth. What is forked has an
environment, a session, standard streams and an end of its own, and is killed at its deadline.

Run as a program this file is that interpreter. Imported, it is how tests talk to it.
"""

import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 30.0  # an upper bound for what hangs, never a figure that a test asserts

_TICK_S = 0.002

_PRELOADED = """
import flwr_telemetry.emitter, flwr_telemetry.launch, flwr_telemetry.settings, tomllib
import flwr_telemetryd.sidecar.loop, flwr_telemetryd.inspect.status, flwr_telemetryd.inspect.follow
import flwr_telemetryd.delivery.file, flwr_telemetryd.delivery.http, flwr_telemetryd.cli.app
import rich.console, rich.table, flwr_telemetryd.__main__
"""
ONCE = "import sys\nfrom flwr_telemetryd.__main__ import main\nsys.exit(main(['--once']))"
COMMAND = "import sys\nfrom flwr_telemetryd.cli import main\nsys.argv[0] = 'flwr-telemetry'\nsys.exit(main())"


@dataclass(frozen=True)
class Done:
    """The end of a process, as `subprocess` tells it."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def said(self):
        return self.stdout + self.stderr


class Zygote:
    """A ready interpreter while its `with` block lasts; a prefix such as `unshare --mount` starts it."""

    def __init__(self, prefix=(), *, preload=_PRELOADED):
        # Without a home of its own, so that no test's clean-up takes it for a process of a home.
        env = {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")}
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-P", __file__, preload],
            env=env,
            cwd="/",
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """End it; its children have ended before."""
        self._process.communicate()

    @property
    def root(self):
        """Its file system, which may have private mounts."""
        return Path(f"/proc/{self._process.pid}/root")

    def python(self, home, code, env=None, **options):
        """Run code that starts no sidecar in a process of its own for this home, to its end."""
        return self.fork(home, code, {"FLWR_TELEMETRY_SIDECAR": "never", **(env or {})}, **options)

    def fork(self, home, code, env=None, *, arguments=(), timeout_s=PATIENCE_S):
        """Run code in a process of its own for this home, to its end; it must not hang."""
        from tests.support import processes

        chosen = processes.environment(home, env)
        order = {"env": chosen, "code": code, "arguments": list(arguments), "timeout_s": timeout_s}
        answer = self.ask(order)
        assert answer["ended"], f"hung: {code[-200:]}\n{answer}"
        return Done(answer["returncode"], answer["stdout"], answer["stderr"])

    def ask(self, order):
        """Have a process forked, and give its end: see `_fork`."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def shell(self, home, command):
        """Run a command of the system where this interpreter is; it must end well."""
        done = self.python(home, f"import subprocess\nsubprocess.run({command!r}, shell=True, check=True)")
        assert done.returncode == 0, done.said

    def workload(self, home, code, env=None, **options):
        """Run a workload; it must end well."""
        from tests.support import processes

        done = self.python(home, processes.PRELUDE + code, env, **options)
        assert done.returncode == 0, done.said
        return done

    def answers(self, home, code, env=None, *, arguments=()):
        """Run a workload that prints JSON as its last line, and give that."""
        return json.loads(self.workload(home, code, env, arguments=arguments).stdout.splitlines()[-1])

    def emit(self, home, n=1, *, start_at=0):
        """Emit n numbered events from one workload, and give the outcomes."""
        calls = f"[outcome(event('PING', {{'n': i}})) for i in range({start_at}, {start_at + n})]"
        return self.answers(home, f"print(json.dumps({calls}))")

    def once(self, home, env=None, *, before="", logs=True):
        """Run `flwr-telemetryd --once`: it neither hangs nor crashes, whatever it meets.

        Code may come before it. Where it cannot write its log, it may have to say so.
        """
        done = self.python(home, f"import os, sys\n{before}\n{ONCE}", env)
        assert "Traceback" not in done.said or not logs, done.said
        assert 0 <= done.returncode <= 5, done
        return done

    def command(self, home, *arguments, env=None):
        """Run `flwr-telemetry` with these arguments: neither does it."""
        done = self.python(home, COMMAND, env, arguments=arguments)
        assert "Traceback" not in done.said, done.said
        return done

    def status(self, home):
        """Give what `flwr-telemetry status --json` tells; it exits with 0, whatever it finds."""
        done = self.command(home, "status", "--json")
        assert done.returncode == 0, done.said
        return json.loads(done.stdout)


def _serve():
    exec(sys.argv[1], {})
    gc.freeze()  # what is forked need not copy all this when it collects its own
    while line := sys.stdin.readline():
        print(json.dumps(_fork(json.loads(line))), flush=True)  # noqa: T201 - that is how it answers


def _fork(order):
    """Fork the process that was asked for, and wait for its end. While it is stopped, `meanwhile` runs."""
    # Pipes, since a limit on the size of files must not cut what a process says.
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _be(order, out_end, err_end)
    os.close(out_end)
    os.close(err_end)
    return _listen(pid, {out: "stdout", err: "stderr"}, order["timeout_s"], order.get("meanwhile"))


def _be(order, out, err):
    """Be the process that was asked for, and end."""
    code = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor, stream in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(descriptor, stream)
        os.closerange(3, 64)
        os.environ.clear()
        os.environ.update(order["env"])
        sys.argv = ["-c", *order["arguments"]]
        exec(compile(order["code"], "<process>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _listen(pid, names, timeout_s, meanwhile):
    """Wait for the end of a process, and take what it says; not for what others say that have its pipes."""
    heard = dict.fromkeys(names.values(), b"")
    deadline_s = time.monotonic() + timeout_s
    open_ends = set(names)
    ended, other = True, None
    while True:
        if ended and time.monotonic() > deadline_s:
            ended = False
            os.kill(pid, signal.SIGKILL)
        found, status = os.waitpid(pid, os.WNOHANG | (os.WUNTRACED if meanwhile else 0))
        if found and os.WIFSTOPPED(status):
            other, meanwhile = _fork(meanwhile), None
            os.kill(pid, signal.SIGCONT)
            continue
        ready, _, _ = select.select(open_ends, [], [], 0 if found else _TICK_S)
        for end in ready:
            data = os.read(end, 2**16)
            heard[names[end]] += data
            if not data:
                open_ends.remove(end)
        if found:
            for end in names:
                os.close(end)
            said = {name: data.decode(errors="replace") for name, data in heard.items()}
            code = os.waitstatus_to_exitcode(status)
            return {"ended": ended, "returncode": code, "meanwhile": other, **said}


if __name__ == "__main__":
    _serve()
