"""Commands that must end with a given exit code, and the log records of a workload."""

import json

from tests.support import processes

# Before the code of a workload: `records` gets the level and the message of each record.
RECORD_LOGS = """
import logging
records = []
make = logging.getLogRecordFactory()
def keep(*args, **kwargs):
    record = make(*args, **kwargs)
    records.append((record.levelname, record.getMessage()))
    return record
logging.setLogRecordFactory(keep)
logging.getLogger().setLevel(logging.INFO)
"""


def ran(home, *arguments, code=0, **options):
    """Run `flwr-telemetry` with these arguments; it must end with this code."""
    done = processes.command(home, *arguments, **options)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def answer_of(home, *arguments, **options):
    """Run it with `--json`, and give the answer."""
    return json.loads(ran(home, *arguments, "--json", **options).stdout)
