"""Each sentence of Flower's page on telemetry is kept by what the emitter's README names beside it.

A shell runs the commands of the README's table by letter, as a reader would. `server.py` reports as a Flower
server does.
"""

import json
import os
import re
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import homes, processes, readme, wire

_SERVER = """
from flwr_telemetry import EventType, event
print(event(EventType.START_SERVER_ENTER, {"n": 1}).result())
"""

_HEAD = "| Flower's page | kept by |\n| --- | --- |\n"
_TABLE = readme.EMITTER.read_text(encoding="utf-8").partition(_HEAD)[2]
_KEPT_BY = dict(re.findall(r"^\| (.*?) \| (.*) \|$", _TABLE.partition("\n\n")[0], re.MULTILINE))
_RUN = set()


@pytest.fixture
def reader(home):
    """Give a reader of the page, with a shell, whose `~/.flwr` is the home of this test."""
    (home.parent / "server.py").write_text(_SERVER)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def does(command, **more):
        """Run a command of the table, as it stands there."""
        env = {"PATH": path, **processes.NEVER, **more, "FLWR_HOME": None}
        return processes.program(home, ["sh", "-c", command], env, cwd=home.parent)

    return SimpleNamespace(home=home, directory=home.parent, does=does)


def keeps(sentence):
    """Note that a test runs this row, and hand it the commands in it."""
    _RUN.add(sentence)
    return pytest.mark.parametrize("words", [re.findall(r"`([^`]+)`", _KEPT_BY[sentence])], ids=[sentence])


@keeps("You will always be able to disable telemetry")
def test_disable(reader, words):
    """After the command nothing is reported, by anybody who uses this home."""
    assert reader.does("python server.py").stdout == "spooled\n"
    assert reader.does(words[0]).returncode == 0
    assert reader.does("python server.py").stdout == "disabled\n"
    assert homes.unsent_files(reader.home) == []


@keeps("by prepending your command")
def test_the_variable(reader, words):
    """Not one file, the `.flwr` included, and no process."""
    before = homes.tree(reader.directory)
    done = reader.does(words[0], FLWR_TELEMETRY_SIDECAR="auto")
    assert (done.stdout, done.stderr) == ("disabled\n", "")
    assert homes.tree(reader.directory) == before
    assert processes.sidecars(reader.home) == []


@keeps("export it in .bashrc to disable Flower telemetry permanently")
def test_for_good(reader, words):
    """A line in a file that every shell reads, or one in our own."""
    export, line, path = words
    (reader.directory / ".bashrc").write_text(f"{export}\n")
    assert reader.does(". ./.bashrc && python server.py").stdout == "disabled\n"
    assert not reader.home.exists()
    done = reader.does(f"umask 077; mkdir -p $(dirname {path}); echo '{line}' > {path}; python server.py")
    assert done.stdout == "disabled\n"
    assert [path.name for path in reader.home.rglob("*")] == ["telemetry", "config.toml"]


@keeps("anonymous and do not contain any personally identifiable information")
def test_anonymous(reader, words):
    """Neither user, host nor home is in any example, nor in an event whose details name them."""
    names = {"USER": "theodora", "LOGNAME": "theodora"}
    told = reader.does(words[0], **names)
    assert told.returncode == 0
    (reader.directory / "server.py").write_text(
        "import os\nfrom flwr_telemetry import event\n"
        "event('PING', {'who': os.environ['USER'], 'where': [os.path.expanduser('~/data')], "
        "'host': os.uname().nodename + '-x'})\n"
    )
    assert reader.does("python server.py", **names).returncode == 0
    told_bytes = told.stdout.encode() + homes.open_segment(reader.home).read_bytes()
    assert b"theodora" not in told_bytes
    assert str(reader.directory).encode() not in told_bytes
    (event,) = homes.spooled(reader.home)
    assert event["event_details"]["who"] == "<redacted>"
    assert event["event_details"]["where"] == ["<redacted>/data"]


@keeps("You can easily inspect what anonymous metrics are being reported")
def test_inspect(reader, collector, words):
    """Before and after it is sent; and what was sent lies there byte for byte."""
    homes.configure(reader.home, collector.url)
    reader.does("python server.py")
    assert "START_SERVER_ENTER" in reader.does(words[0]).stdout
    processes.deliver(reader.home)
    assert re.search(r"^sent .* START_SERVER_ENTER", reader.does(words[0]).stdout, re.MULTILINE)
    place = words[1].replace("<host>", homes.host_name())
    assert reader.does(f"cat {place}????-??-??.jsonl").stdout.encode() == collector.requests[0].body + b"\n"


@keeps("Flower version, operating system, Python version, hardware properties, execution mode")
def test_what_is_collected(reader, words):
    """Each of the page's headings is the reason of a field, and each field has one."""
    told = json.loads(reader.does(f"{words[0]} --json").stdout)
    reasons = " ".join(field["why"].lower() for field in told)
    headings = "flower version, operating system, python version, hardware properties, execution mode"
    assert headings in " ".join(_KEPT_BY).lower()
    assert [heading for heading in headings.split(", ") if heading not in reasons] == []
    assert all(field["why"] and field["type"] for field in told)


@keeps("a random in-memory cluster ID each time a Flower workload starts")
def test_the_cluster(reader, words):
    """Another one in each run, a UUID4, and in no file but the segment of events."""
    reader.does("python server.py; python server.py")
    group, name = words[0].split(".")
    clusters = [event[group][name] for event in homes.spooled(reader.home)]
    assert len(set(clusters)) == 2
    assert {uuid.UUID(cluster).version for cluster in clusters} == {4}
    holders = [path for path, data in homes.contents(reader.home).items() if clusters[0].encode() in data]
    assert [Path(path).name for path in holders] == ["events.msgpack"]


@keeps("a random source ID in ~/.flwr/source the first time a telemetry event is generated")
def test_the_source(reader, words):
    """There is none before that, and the command makes none."""
    assert "no source ID yet" in reader.does(words[0]).stdout
    assert not reader.home.exists()
    reader.does("python server.py")
    source = reader.does("cat ~/.flwr/source").stdout
    assert uuid.UUID(source).version == 4
    assert reader.does(words[0]).stdout.splitlines()[0] == source


@keeps("You may delete the source ID at any time")
def test_deleting_the_source(reader, words):
    """The next event starts a new one, whichever way it went."""
    remove, forget = words
    seen = []
    for way in (remove, f"{forget} --yes", "true"):
        assert reader.does("python server.py").stdout == "spooled\n"
        seen.append(reader.does("cat ~/.flwr/source").stdout)
        assert reader.does(way).returncode == 0
    assert len(set(seen)) == 3
    bodies = wire.expand_all(path.read_bytes() for path in homes.waiting(reader.home))
    unsent = [*bodies, *homes.spooled(reader.home)]
    assert [event["context"]["source"] for event in unsent] == [seen[0], seen[2]]


@keeps("you can send a deletion request mentioning the source ID")
def test_the_request(reader, words):
    """To the page's address, with the ID in it."""
    reader.does("python server.py")
    source = reader.does("cat ~/.flwr/source").stdout
    told = reader.does(f"{words[0]} --yes").stdout
    assert "To: telemetry@flower.ai\n" in told
    assert re.search(f"^ *Subject: .*{source}$", told, re.MULTILINE)
    assert re.search(rf"^mailto:telemetry@flower\.ai\?.*{source}", told, re.MULTILINE)


@keeps("We will update this page and publish changes in the changelog")
def test_changes_are_told(words):
    """The table cannot fall behind the code, and the changelog has the heading."""
    text = readme.EMITTER.read_text(encoding="utf-8")
    assert readme.with_fields(text) == text
    assert "\n### What is collected\n" in (readme.ROOT / words[0]).read_text(encoding="utf-8")


@keeps("view all the reported telemetry information")
def test_logging(reader, words):
    done = reader.does(words[0])
    assert done.stdout == "spooled\n"
    (line,) = [line for line in done.stderr.splitlines() if " - POST - " in line]
    (event,) = homes.spooled(reader.home)
    assert json.loads(line.partition(" - POST - ")[2])["event_details"] == event["event_details"]


@keeps("without sending any anonymous usage metrics, use both")
def test_logging_alone(reader, words):
    """Shown, and not written or sent."""
    before = homes.tree(reader.directory)
    done = reader.does(words[0], FLWR_TELEMETRY_SIDECAR="auto")
    assert done.stdout == "disabled\n"
    assert '"event_type": "START_SERVER_ENTER"' in done.stderr
    assert homes.tree(reader.directory) == before
    assert processes.sidecars(reader.home) == []


@keeps("Logging is disabled by default")
def test_no_logging(reader, words):
    """But for one line per home, which says how to see and how to switch off."""
    (line,) = reader.does("python server.py").stderr.splitlines()
    assert line.startswith("INFO flwr-telemetry ")
    assert "flwr-telemetry inspect" in line
    assert "flwr-telemetry disable" in line
    assert reader.does("python server.py").stderr == ""


@keeps("reach out to us via Slack or email")
def test_contact(reader, words):
    """The help names both."""
    channel, address, ask = words
    told = reader.does(ask, COLUMNS="200").stdout
    assert channel in told
    assert address in told


def test_every_row_is_run():
    """A promise that no test keeps is none."""
    assert set(_KEPT_BY) == _RUN
    assert len(_RUN) == 15
