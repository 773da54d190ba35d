"""Programs that carry their packages with them, and gevent: each with the real tool, from a package index."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flwr_telemetry import package_files
from tests.support import homes, processes, venvs

pytestmark = pytest.mark.heavy

BASE = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
"""An interpreter that has none of our packages."""

PROGRAM = """
import logging
logging.basicConfig(level=20)
from flwr_telemetry import event

def main():
    future = event("PING")
    print(future.exception() or future.result())

if __name__ == "__main__":
    main()
"""


def tool(directory, name):
    """Install a tool from the package index; the environment of a Python that finds it and our packages."""
    return {**os.environ, "PYTHONPATH": str(venvs.installed(directory, name, alone=False))}


def run_tool(env, module, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_frozen_program_spools_and_starts_no_sidecar(home, tmp_path):
    """PyInstaller: the notice is shown, the event is kept, and one warning says why nothing delivers it."""
    env = tool(tmp_path / "tool", "pyinstaller")
    (tmp_path / "app.py").write_text(PROGRAM)
    run_tool(env, "PyInstaller", "-y", "--log-level", "ERROR", "app.py", cwd=tmp_path)
    program = tmp_path / "dist/app/app"
    done = processes.program(home, [program])
    assert done.stdout == "spooled\n", done.stderr
    assert "flwr-telemetry disable" in done.stderr
    assert done.stderr.count("this program is frozen") == 1
    homes.configure(home, "http://127.0.0.1:9/")
    done = processes.program(home, [program], {"FLWR_TELEMETRY_LOGGING": "1", **processes.NEVER})
    assert done.stdout == "spooled\n", done.stderr
    assert '"event_type": "PING"' in done.stderr
    assert len(homes.spooled(home)) == 2


def test_a_sidecar_of_an_archive_that_unpacks_itself(home, collector, tmp_path, monkeypatch):
    """Shiv: the sidecar loads from the directory into which the archive has unpacked itself."""
    env = tool(tmp_path / "tool", "shiv")
    site = tmp_path / "site"
    for name, file in package_files.find().items():
        shutil.copytree(Path(file).parent, site / name)
    (site / "app.py").write_text(PROGRAM)
    run_tool(env, "shiv", "-e", "app:main", "--site-packages", site, "-o", "app.pyz", cwd=tmp_path)
    monkeypatch.setenv("SHIV_ROOT", str(tmp_path / "unpacked"))
    homes.configure(home, collector.url)
    done = processes.program(home, [BASE, "-s", tmp_path / "app.pyz"])
    assert done.stdout == "spooled\n", done.stderr
    processes.wait_until(lambda: len(collector.events()) == 1, what="a delivery")


GEVENT = """
from gevent import monkey; monkey.patch_all(thread=False)
import psutil, threading, time
from flwr_telemetry import event

def work():
    for _ in range(2):
        future = event("PING")
        print(future.exception() or future.result(), psutil.Process().children())
        time.sleep(1.2)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_gevent(home, collector, tmp_path):
    """Its Popen works in no thread of the system: the sidecar starts all the same, and no zombie is left."""
    env = tool(tmp_path / "tool", "gevent")
    homes.configure(home, collector.url, idle_exit_s=0.1)
    done = processes.run(home, ["-c", GEVENT], {"PYTHONPATH": env["PYTHONPATH"]})
    assert done.stdout == "spooled []\n" * 2, done.stderr
    processes.wait_until(lambda: len(collector.events()) == 2, what="a delivery")
