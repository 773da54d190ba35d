"""The rig's hand inside a machine: a line of JSON is a request, another one its answer, many at a time."""

import json
import os
import signal
import subprocess
import threading
import tty

LINE = "/dev/ttyS0"
USER_ID = 1000
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def _start(ask, out, errors):
    """Start a line of the shell, as root or as the user, perhaps under another host name."""
    words = ["/bin/bash", "-c", ask["line"]]
    if ask["is_user"]:
        words = ["setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups", *words]
    if ask["name"]:
        words = ["unshare", "--uts", "/bin/bash", "-c", 'hostname "$0" && exec "$@"', ask["name"], *words]
    environment = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **ask["env"]}
    files = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": errors}
    return subprocess.Popen(words, env=environment, cwd="/", start_new_session=True, **files)


class Agent:
    """Answers the requests of one line."""

    def __init__(self, line):
        self._line = line
        self._lock = threading.Lock()
        self._spawned = {}

    def say(self, answer):
        data = json.dumps(answer).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._line, data) :]

    def serve(self, ask):
        try:
            answer = getattr(self, f"_{ask['what']}")(ask)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        self.say({"number": ask["number"], **answer})

    def _run(self, ask):
        """Run to the end. A process that hangs in the kernel is left behind."""
        process = _start(ask, subprocess.PIPE, subprocess.PIPE)
        try:
            out, errors = process.communicate(timeout=ask["timeout_s"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return {"code": None, "out": "", "errors": "it took too long"}
        return {"code": process.returncode, "out": out.decode(), "errors": errors.decode()[-8000:]}

    def _spawn(self, ask):
        with open(ask["log"], "ab") as log:
            process = _start(ask, log, log)
        self._spawned[process.pid] = process
        return {"pid": process.pid}

    def _wait(self, ask):
        try:
            return {"code": self._spawned[ask["pid"]].wait(ask["timeout_s"])}
        except subprocess.TimeoutExpired:
            return {"code": None}


def main():
    line = os.open(LINE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    agent = Agent(line)
    agent.say({"number": 0})
    with os.fdopen(os.dup(line), "rb") as asks:
        for ask in asks:
            threading.Thread(target=agent.serve, args=(json.loads(ask),), daemon=True).start()


if __name__ == "__main__":
    main()
