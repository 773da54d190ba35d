"""A stand-in for macOS's `launchctl`: it notes its arguments, and starts and ends an agent as launchd would.

Its directory holds the program under that name, and `calls`, a line for each call. `domain` there names the
domain that has a session. It never starts an agent again.
"""

import os
import plistlib
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_LOADED = _HERE / "loaded"
_WATCH = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[3:])
open(sys.argv[1], "w").write(str(child.pid))
code = child.wait()
open(sys.argv[2] + ".part", "w").write(str(code))
os.rename(sys.argv[2] + ".part", sys.argv[2])
"""


def install(directory, domain=None):
    """Put the stand-in into a directory for PATH."""
    directory.mkdir()
    program = directory / "launchctl"
    program.write_text(f"#!{sys.executable} -ES\n" + Path(__file__).read_text())
    program.chmod(0o700)
    (directory / "domain").write_text(domain or f"gui/{os.geteuid()}")


def calls(directory):
    """Give the calls so far that changed something."""
    found = [line.split(" ") for line in (directory / "calls").read_text().splitlines()]
    return [" ".join(words) for words in found if words[0] != "print"]


def main(command, target, path=None):
    with (_HERE / "calls").open("a") as file:
        file.write(shlex.join(filter(None, (command, target, path))) + "\n")
    domain = (_HERE / "domain").read_text()
    if not f"{target}/".startswith(f"{domain}/"):
        sys.exit(f"Could not find domain for {target}")
    if command == "print" and target == domain:
        return
    if command == "bootstrap":
        if _LOADED.exists():
            sys.exit("Bootstrap failed: 5: Input/output error")
        _bootstrap(plistlib.loads(Path(path).read_bytes()))
    elif command in {"print", "bootout"}:
        if not _LOADED.exists():
            sys.exit(f'Could not find service "{target}" in domain')
        if command == "print":
            _print(target)
        else:
            _bootout()


def _bootstrap(agent):
    assert agent["RunAtLoad"]
    environ = {"PATH": os.defpath, "HOME": os.environ["HOME"], **agent["EnvironmentVariables"]}
    (_HERE / "exit").unlink(missing_ok=True)
    watched = [sys.executable, "-ESc", _WATCH, str(_HERE / "pid"), str(_HERE / "exit")]
    null = subprocess.DEVNULL
    words = [*watched, *agent["ProgramArguments"]]
    subprocess.Popen(words, env=environ, stdin=null, stdout=null, stderr=null, start_new_session=True)
    _LOADED.touch()


def _running():
    try:
        return None if (_HERE / "exit").exists() else int((_HERE / "pid").read_text())
    except (OSError, ValueError):
        return None


def _print(target):
    pid = _running()
    ended = (_HERE / "exit").read_text() if (_HERE / "exit").exists() else "(never exited)"
    state = [f"\tstate = {'not running' if pid is None else 'running'}"]
    state += [] if pid is None else [f"\tpid = {pid}"]
    rest = ["\tendpoints = {", "\t\tstate = active", "\t}", f"\tlast exit code = {ended}"]
    sys.stdout.write("\n".join([f"{target} = {{", "\tactive count = 1", *state, *rest, "}", ""]))


def _bootout():
    if (pid := _running()) is not None:
        os.kill(pid, signal.SIGTERM)
    while not (_HERE / "exit").exists():
        time.sleep(0.01)
    _LOADED.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
