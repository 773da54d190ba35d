"""One machine of the rig: a kernel in user mode, which is a process here, and the way to its agent."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

MEMORY_MIB = 640
USER_ID = 1000
_BOOT_S = 120.0
_PARENT_DEATH = 1


class Guest:
    """A machine. All of its processes end with this one, even by SIGKILL.

    Args:
        name: its host name.
        cables: for each network card, our end of the cable, and the address with its length.
        machine_id: of /etc/machine-id; empty: there is none.
        base: the directory with the kernel and the disk of the system.
        disks: images for ubdb, ubdc (to read) and perhaps ubdd (to write).
        run: the directory of the run.
    """

    def __init__(self, name, cables, machine_id, base, disks, run):
        self.name = name
        self._cables, self._machine_id, self._base, self._disks, self._run = (
            cables,
            machine_id,
            base,
            disks,
            run,
        )
        self._console = run / f"{name}.console"
        self._process = None
        self._answered = threading.Condition()

    def boot(self):
        self._line, port = socket.socketpair()
        self._answers, self._next, self._is_gone = {}, 1, False
        # In a process namespace of its own: all processes in it end with the first one.
        words = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", *self._command(port)]
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=console,
                env={**os.environ, "TMPDIR": str(self._run)},
                pass_fds=[port.fileno(), *(cable.fileno() for cable, _ in self._cables)],
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - it makes one system call
                start_new_session=True,
            )
        port.close()
        threading.Thread(target=self._listen, args=(self._line,), daemon=True).start()

    def await_agent(self):
        with self._answered:
            self._answered.wait_for(lambda: 0 in self._answers or self._is_gone, _BOOT_S)
            is_up = 0 in self._answers
        if not is_up:
            raise RuntimeError(
                f"{self.name} does not start: {self._console.read_text(errors='replace')[-2000:]}"
            )

    def _command(self, port):
        copy = self._run / f"{self.name}.copy"
        copy.unlink(missing_ok=True)
        disks = [f"ubda={copy},{self._base / 'root.ext4'}"]
        disks += [f"ubd{n}={disk}" for n, disk in zip(("br", "cr", "d"), self._disks, strict=False)]
        cards = [
            f"vec{n}:transport=fd,fd={cable.fileno()},depth=128" for n, (cable, _) in enumerate(self._cables)
        ]
        lines = ["con=null", "con0=null,fd:2", "ssl=null", f"ssl0=fd:{port.fileno()}"]
        system = ["root=/dev/ubda", "rootfstype=ext4", "rw", "init=/rig-init", "quiet"]
        addresses = ",".join(address for _, address in self._cables)
        ours = [f"rig.name={self.name}", f"rig.ip={addresses}", f"rig.id={self._machine_id}"]
        place = [f"mem={MEMORY_MIB}M", f"uml_dir={self._run}/", f"umid={self.name}"]
        return [str(self._base / "linux"), *place, *disks, *cards, *lines, *system, *ours]

    def _listen(self, line):
        with contextlib.suppress(OSError, ValueError), line.makefile("rb") as answers:
            for text in answers:
                answer = json.loads(text)
                with self._answered:
                    self._answers[answer["number"]] = answer
                    self._answered.notify_all()
        with self._answered:
            self._is_gone = self._is_gone or line is self._line
            self._answered.notify_all()

    def ask(self, what, wait_s=60.0, **more):
        """Ask the agent for something, and give its answer."""
        with self._answered:
            number, self._next = self._next, self._next + 1
            self._line.sendall(json.dumps({"what": what, "number": number, **more}).encode() + b"\n")
            self._answered.wait_for(lambda: number in self._answers or self._is_gone, wait_s)
            answer = self._answers.pop(number, {"error": f"no answer within {wait_s:.0f} s"})
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {what} {more.get('line', '')[:200]}: {answer['error']}")
        return answer

    def _inside(self):
        children = f"/proc/{self._process.pid}/task/{self._process.pid}/children"
        with contextlib.suppress(OSError):
            return [int(pid) for pid in Path(children).read_text().split()]
        return []

    def freeze(self):
        """Stop the whole machine: it does not answer, and nobody is told."""
        for pid in self._inside():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in self._inside():
            os.kill(pid, signal.SIGCONT)

    def cut_power(self):
        """End the machine at once; what only its memory held is gone."""
        if self._process is None:
            return
        inside = self._inside()
        self._process.kill()
        self._process.wait()
        end = time.monotonic() + 5
        while any(os.path.exists(f"/proc/{pid}") for pid in inside) and time.monotonic() < end:
            time.sleep(0.02)
        self._process = None
        self._line.close()


@dataclass(frozen=True)
class Host:
    """A machine as processes on it see it."""

    guest: Guest
    name: str = ""
    """Another host name than the machine's own."""

    @property
    def title(self):
        return self.name or self.guest.name

    def run(self, line, *, timeout_s=60.0, is_user=True, env=(), check=True):
        """Run a line of the shell. The answer has ``code`` (None: it did not end), ``out`` and ``errors``."""
        ask = {"line": line, "is_user": is_user, "name": self.name, "env": dict(env), "timeout_s": timeout_s}
        answer = self.guest.ask("run", wait_s=timeout_s + 20, **ask)
        if check and answer["code"] != 0:
            text = answer["out"][-800:] + answer["errors"][-800:]
            raise RuntimeError(f"{self.title}$ {line[:200]}: {answer['code']}: {text}")
        return answer

    def root(self, line, **options):
        """Run a line as root; its output."""
        return self.run(line, is_user=False, **options)["out"]

    def read(self, path):
        """Give the text of a file; of a missing one, none."""
        return self.root(f"cat {path} 2>/dev/null", check=False)

    def write(self, path, text):
        self.root(f"cat > {path} <<'END'\n{text}END\n")

    def spawn(self, line, *, is_user=True, env=(), log="/tmp/spawned"):
        """Start a line in the background; the number of its process and of its group."""
        ask = {"line": f"exec {line}", "is_user": is_user, "name": self.name, "env": dict(env), "log": log}
        return self.guest.ask("spawn", **ask)["pid"]

    def wait(self, pid, timeout_s):
        """Give the exit code of a spawned process; None if it has not ended by then."""
        return self.guest.ask("wait", wait_s=timeout_s + 20, pid=pid, timeout_s=timeout_s)["code"]

    def kill(self, pid, number=signal.SIGKILL):
        """Send a signal to the group of a spawned process."""
        self.root(f"kill -{int(number)} -- -{pid}", check=False)


def _die_with_parent():
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
