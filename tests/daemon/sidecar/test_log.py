"""The sidecar's log: the file, and the lines for a journal."""

import logging
import os
import re

import pytest

from flwr_telemetryd.sidecar.log import JournalFormatter
from tests.support import homes, processes


@pytest.mark.parametrize(
    ("level", "priority"), [("DEBUG", 7), ("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 3)]
)
def test_every_line_of_a_traceback_has_its_priority(level, priority):
    with pytest.raises(ValueError, match="first") as caught:
        raise ValueError("first\nsecond")
    fault = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("n", getattr(logging, level), "p", 1, "what\never", (), fault)
    lines = JournalFormatter().format(record).splitlines()
    assert len(lines) > 4
    assert all(line.startswith(f"<{priority}>") for line in lines)


@pytest.mark.parametrize("journal", [False, True])
def test_standard_error_has_priorities_for_a_journal_and_times_for_people(home, collector, tmp_path, journal):
    homes.configure(home, collector.url)
    processes.spool_events(home)
    said = tmp_path / "said"
    with said.open("w") as stream:
        status = os.fstat(stream.fileno())
        env = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino if journal else 0}"}
        processes.start(home, ["-m", "flwr_telemetryd", "--once"], env, stderr=stream).wait()
    lines = said.read_text().splitlines()
    assert lines
    form = r"<[346]>\w.*" if journal else r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \d+ [A-Z]+ \w.*"
    assert all(re.fullmatch(form, line) for line in lines)
    words = [re.sub(r"^<\d>|^\S+ \d+ [A-Z]+ ", "", line) for line in lines]
    log = (homes.host(home) / "sidecar.log").read_text().splitlines()
    assert words == [line.split(" ", 3)[3] for line in log]


@pytest.mark.parametrize(("enabled", "there"), [("true", True), ("false", False)])
def test_a_log_that_was_removed_comes_back_unless_the_user_opted_out(home, enabled, there):
    """A sidecar that was stopped while the user switched telemetry off must leave no file."""
    homes.host(home).mkdir(parents=True)
    code = f"""
import logging, os
from pathlib import Path
from flwr_telemetry.layout import Home
from flwr_telemetryd.sidecar.log import set_up_log

home = Home(Path(os.environ["FLWR_HOME"]))
os.umask(0o077)
set_up_log(home.host(), os.environ, to_stderr=False)
logging.getLogger("flwr_telemetryd").info("one")
home.config.write_text("enabled = {enabled}")
home.host().log.unlink()
logging.getLogger("flwr_telemetryd").info("two")
"""
    done = processes.run(home, ["-c", code])
    assert done.returncode == 0, done.stderr
    assert (homes.host(home) / "sidecar.log").exists() == there


def test_a_log_whose_directory_is_gone_ends_no_sidecar(home):
    """As after another host has removed it, or if the log cannot be opened again after it was full."""
    host = homes.host(home)
    homes.put(home, [])
    code = f"""
import shutil
from pathlib import Path
from flwr_telemetry.layout import Home
from flwr_telemetryd.sidecar.log import log, set_up_log
set_up_log(Home(Path({str(home)!r})).host(), {{}}, to_stderr=False)
log.info("first")
shutil.rmtree({str(host)!r})
log.info("second")
Path({str(host)!r}).mkdir(mode=0o700)
log.info("third")
"""
    done = processes.run(home, ["-c", code])
    assert (done.returncode, done.stderr) == (0, "")
    assert (host / "sidecar.log").read_text().endswith(" third\n")
