"""The sidecar as a process: consent, the exit codes, and the change to a service."""

import os
import sys

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.errors import ExitCode
from flwr_telemetryd.sidecar import process
from flwr_telemetryd.sidecar.consent import ConsentGate
from tests.support import homes, processes, records, wire
from tests.support.collector import Answer


@pytest.mark.parametrize("happening", ["removed", "replaced", "a link", "a link above"])
def test_a_sidecar_whose_directory_is_removed_ends(home, collector, happening):
    homes.configure(home, collector.url, idle_exit_s=60)
    homes.put(home, records.series(1))
    sidecar = processes.start(home, ["-m", "flwr_telemetryd"])
    processes.wait_until(lambda: homes.sent(home))
    path = homes.telemetry(home) if happening == "a link above" else homes.host(home)
    path.rename(home / "elsewhere")
    if happening == "replaced":
        homes.put(home, records.series(1, start=1))
    elif happening != "removed":
        path.symlink_to(home / "elsewhere")
    assert sidecar.wait(processes.PATIENCE_S) == ExitCode.UNUSABLE
    assert homes.host(home).exists() is (happening != "removed")
    if happening == "replaced":
        processes.deliver(home)
        assert wire.serials(collector.events()) == [0, 1]


def test_on_demand_ends_for_a_service(home, collector):
    homes.configure(home, collector.url, idle_exit_s=600)
    homes.put(home, records.series(2))
    first = processes.start(home, ["-m", "flwr_telemetryd"])
    processes.wait_until(lambda: homes.sent(home))
    service = processes.start(home, ["-m", "flwr_telemetryd", "--service"])
    assert first.wait(processes.PATIENCE_S) == 0
    processes.wait_until(Home(home).heartbeat(homes.host_name()).exists)
    second = processes.run(home, ["-m", "flwr_telemetryd", "--service"])
    assert second.returncode == ExitCode.BUSY
    process.request_exit(Home(home).host())
    assert service.poll() is None
    service.terminate()
    assert service.wait(processes.PATIENCE_S) == 0


@pytest.mark.parametrize("status", [503, 422])
def test_after_an_opt_out_during_a_request_nothing_is_written(home, collector, status):
    homes.configure(home, collector.url)
    homes.put(home, records.series(2))

    def switch_off_and_refuse(_request):
        homes.write_settings(home, "enabled = false\n")
        return Answer(status, {"Retry-After": "3600"})

    collector.answer_by(switch_off_and_refuse)
    before = set(homes.tree(homes.host(home)))
    assert processes.run(home, ["-m", "flwr_telemetryd"]).returncode == ExitCode.DISABLED
    assert len(collector.requests) == 1
    new = set(homes.tree(homes.host(home))) - before
    assert new <= {"sidecar.lock", "sidecar.log", "sidecar.json"}
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize("is_site", [False, True])
def test_a_no_in_place_is_seen_at_the_next_check(home, tmp_path, is_site):
    """The file keeps its size and its time."""
    site = tmp_path / "telemetry.toml"
    path = site if is_site else homes.config_file(home)
    homes.write_settings(home, "")
    path.write_text("enabled = true \n")
    gate = ConsentGate(Home(home), site, lambda: None)
    assert gate()
    before = path.stat()
    path.write_text("enabled = false\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not gate()


def test_on_a_terminal_it_says_what_it_does_and_why_it_ends(home, collector):
    def on_a_terminal():
        code = f"import pty, sys\nsys.exit(pty.spawn([{sys.executable!r}, '-m', 'flwr_telemetryd']) >> 8)"
        done = processes.run(home, ["-c", code])
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert on_a_terminal() == f"flwr-telemetryd: nothing waits in {home}\n"
    homes.configure(home, collector.url)
    homes.put(home, records.series(1))
    told = on_a_terminal()
    assert told.startswith(f"flwr-telemetryd: delivers the events of {home}; Ctrl-C ends it")
    assert "ending: nothing was left to do" in told
    homes.put(home, records.series(1))
    assert processes.run(home, ["-m", "flwr_telemetryd"]).stderr == ""
    for word in ("-V", "--version"):
        assert processes.run(home, ["-m", "flwr_telemetryd", word]).stdout.startswith("flwr-telemetryd ")


LOADED = """
import atexit, sys
atexit.register(lambda: print(*sys.modules))
from flwr_telemetryd.__main__ import main
sys.exit(main([]))
"""
STANDARD = "import sys, datetime, http.client, logging, selectors, ssl, threading; print(*sys.modules)"
NEVER_LOADED = {
    *("requests", "urllib3", "charset_normalizer", "idna", "filelock", "certifi", "rich", "typer"),
    *("dataclasses", "inspect", "asyncio", "argparse", "shutil", "subprocess", "logging.handlers"),
    *("flwr_telemetryd.admin", "flwr_telemetryd.cli", "flwr_telemetryd.inspect"),
}


def test_a_sidecar_loads_what_a_delivery_needs_and_no_more(home, collector):
    """Once a boot it loads what measures the hardware."""
    homes.configure(home, collector.url, idle_exit_s=0, burst_window_s=0)
    # No site-packages are loaded, because a sidecar on demand is started so.
    code = f"import sys\nsys.path += {[path for path in sys.path if path]!r}\n{LOADED}"
    for number in range(2):
        homes.put(home, records.series(2, start=2 * number))
        loaded = set(processes.run(home, ["-I", "-S", "-c", code]).stdout.split())
        assert len(collector.events()) == 2 * number + 2
        assert ("psutil" in loaded) is (number == 0)
    pythons_own = set(processes.run(home, ["-I", "-S", "-c", STANDARD]).stdout.split())  # of each version
    assert sorted((loaded - pythons_own) & NEVER_LOADED) == []
    assert len(loaded - pythons_own) < 125


PRUNED = """
import shutil, sys
from flwr_telemetryd.sidecar import process
real = process.{step}
def step(*arguments, **options):
    process.{step} = real
    shutil.rmtree({directory!r})
    return real(*arguments, **options)
process.{step} = step
sys.exit(process.main(["--once"]))
"""


@pytest.mark.parametrize("step", ["check_root", "held", "set_up_log", "_run_sidecar"])
def test_once_begins_again_if_another_host_removes_its_empty_directory(home, collector, step):
    """Without locks, another host may delete it at any moment before this one has written there."""
    homes.configure(home, collector.url)
    homes.put(home, records.series(2), host_of="other")
    homes.host(home).mkdir(mode=0o700)
    code = PRUNED.format(step=step, directory=str(homes.host(home)))
    done = processes.run(home, ["-c", code])
    assert done.returncode in {ExitCode.OK, ExitCode.UNDELIVERED}, done.stderr
    assert homes.host(home).is_dir()
    assert "Traceback" not in done.stderr
