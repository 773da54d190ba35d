"""The README for clusters: its five commands are taken from it by letter, and run."""

import json
import os
import re

import pytest

from tests.support import homes, machine, processes, readme
from tests.support.collector import Collector

_ROOT = readme.ROOT


def _commands():
    text = readme.SYSTEMD.read_text(encoding="utf-8")
    found = re.search(r"<!-- cluster-commands -->\n```sh\n(.*?)\n```", text, re.DOTALL)
    assert found is not None
    return found[1].splitlines()


@pytest.mark.heavy
@pytest.mark.long
def test_from_nothing_to_a_serving_login_node(tmp_path):
    """Five commands of a user without rights, in a clone, with a real logind; then an event is delivered."""
    if reason := machine.why_not(system=True):
        pytest.skip(reason)
    with machine.Machine(tmp_path) as node, Collector(node.socket()) as collector:
        node.start_system()
        node.log_in()
        homes.configure(node.home / ".flwr", collector.url)
        node.give(node.home)
        assert len(_commands()) == 5
        told, files = "", set(os.listdir(_ROOT))
        for command in _commands():
            # The package index is the only thing beyond this machine that is asked for anything.
            installs = "pip install" in command
            pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
            words = ["sh", "-ec", f"cd {_ROOT}\n{command}"]
            done = node.run(words, env=pip, outer_network=installs, timeout=300)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            told = done.stdout
        assert told.startswith("The service serves /home/alice/.flwr.\n")
        assert re.search("^Linger +on$", told, re.MULTILINE)
        (python,) = re.findall("^Python +(.*)$", told, re.MULTILINE)
        # What it runs is what was installed, units and all, and no part of the clone.
        where = "import flwr_telemetryd, flwr_telemetry; print(flwr_telemetryd.__file__)"
        assert node.run([python, "-Pc", where]).stdout.startswith("/home/alice/.flwr-telemetry/lib/")
        assert {"build", "dist"}.isdisjoint({*os.listdir(_ROOT)} - files)
        report = "from flwr_telemetry import event; print(event('PING').result())"
        job = {**processes.NEVER, "SLURM_JOB_ID": "7"}
        assert node.run([python, "-c", report], env=job).stdout == "spooled\n"
        node.run(["systemctl", "--user", "reload", "flwr-telemetryd"], check=True)
        processes.wait_until(lambda: len(collector.events()) == 1)
        # While it serves, nobody else starts a sidecar.
        assert node.run([python, "-c", report]).stdout == "spooled\n"
        sidecars = node.run(["pgrep", "--full", "flwr.telemetryd"], check=True).stdout.split()
        view = json.loads(
            node.run([python, "-m", "flwr_telemetryd.cli", "service", "status", "--json"]).stdout
        )
        assert sidecars == [str(view["pid"])]
