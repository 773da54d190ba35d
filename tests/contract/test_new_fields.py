"""When the list of fields grows, people are told, and nothing that is new is sent before that."""

import hashlib
import json

from flwr_telemetry import context, layout
from tests.support import homes, processes
from tests.support.commands import RECORD_LOGS, answer_of, ran
from tests.support.processes import NEVER

NAMES = [field.name for field in context.FIELDS]
NEW = ["context.hw.memory_gib", "context.platform.version"]
SHOWN = RECORD_LOGS + "event('PING').result(); event('PING').result()\nprint(json.dumps(records))"
HIDDEN = "sys.stderr = open(os.devnull, 'w')\nevent('PING').result()\nprint(json.dumps(None))"


def of_an_older_version(home):
    """Make a home that was told of the fields of an older version."""
    known = [name for name in NAMES if name not in NEW]
    digest = hashlib.sha256("\n".join(known).encode()).hexdigest()
    (home / "telemetry" / "noticed").write_text("\n".join([digest, *known, ""]))


def noticed(home):
    return (home / "telemetry" / "noticed").read_text().split()


def test_the_digest_is_that_of_the_list():
    assert len(NAMES) == len({*NAMES}) == layout.FIELD_COUNT
    assert hashlib.sha256("\n".join(NAMES).encode()).hexdigest() == layout.FIELDS_DIGEST
    assert {field.since for field in context.FIELDS} == {"0.1.0"}


def test_a_home_remembers_of_what_it_was_told(home):
    (line,) = processes.answers(home, SHOWN, NEVER)
    assert line[1].startswith("Flower reports anonymous")
    assert noticed(home) == [layout.FIELDS_DIGEST, *NAMES]
    assert processes.answers(home, SHOWN, NEVER) == []
    assert answer_of(home, "status")["new_fields"] == []


def test_nothing_new_is_sent_before_it_was_told(home, collector):
    """A process that nobody sees sends what was known; the line comes where a person can see it."""
    homes.configure(home, collector.url)
    of_an_older_version(home)
    processes.answers(home, HIDDEN, NEVER)
    processes.once(home)
    (body,) = collector.accepted.values()
    sent = json.loads(body)["context"]
    assert "memory_gib" not in sent["hw"]
    assert "version" not in sent["platform"]
    assert {"cpu_count", "cpu_count_physical"} <= set(sent["hw"])
    assert (
        "New fields     context.hw.memory_gib, context.platform.version; why:" in ran(home, "status").stdout
    )
    (line,) = processes.answers(home, SHOWN, NEVER)
    assert line[1].startswith(f"Flower's anonymous usage metrics have new fields: {', '.join(NEW)}.")
    without, whole = homes.spooled(home)
    assert "version" not in without["context"]["platform"]
    assert "version" in whole["context"]["platform"]
    assert processes.answers(home, SHOWN, NEVER) == []


def test_status_says_so_until_somebody_looked(home):
    homes.configure(home)
    of_an_older_version(home)
    processes.answers(home, SHOWN, NEVER)
    assert answer_of(home, "status")["new_fields"] == NEW
    assert [field["name"] for field in answer_of(home, "fields", "--new")] == NEW
    assert answer_of(home, "status")["new_fields"] == []
    assert "No field is new" in ran(home, "fields", "--new").stdout
    assert noticed(home) == [layout.FIELDS_DIGEST, *NAMES]


def test_an_empty_file_is_that_of_a_home_that_was_told(home):
    homes.configure(home)
    assert answer_of(home, "status")["new_fields"] == []
    assert processes.answers(home, SHOWN, NEVER) == []
    (home / "telemetry" / "noticed").write_bytes(b"\xff\0")
    assert answer_of(home, "status")["new_fields"] == []
