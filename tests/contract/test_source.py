"""Section 5: source, cluster and partner of an event, and forgotten sources."""

import stat
import uuid

import pytest

from tests.support import homes, processes
from tests.support.processes import IS_ROOT, NEVER, answers, outcomes

_ID = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1"


def _sources(home):
    return {event["context"]["source"] for event in homes.spooled(home)}


@pytest.mark.parametrize(
    ("content", "source"), [(f"  {_ID} \n".encode(), _ID), (b"9e3a2a53-6bd5-4d6b-8a3c", "invalid")]
)
def test_flowers_own_source_is_kept(home, content, source):
    """Other content than a UUID is `invalid`, as in Flower, and stays as it is."""
    home.mkdir()
    (home / "source").write_bytes(content)
    processes.spool_events(home)
    assert (home / "source").read_bytes() == content
    assert _sources(home) == {source}


def test_no_home_is_unavailable(home):
    """Where the home cannot be made, the would-be source is `unavailable`."""
    env = {"FLWR_HOME": homes.IMPOSSIBLE, "FLWR_TELEMETRY_LOGGING": "1"}
    stderr = processes.workload(home, "event('PING')", env).stderr
    assert '"source": "unavailable"' in stderr or '"source":"unavailable"' in stderr


@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
def test_no_permission_is_unavailable(home):
    homes.configure(home)
    home.chmod(0o500)
    try:
        processes.spool_events(home)
    finally:
        home.chmod(0o700)
    assert _sources(home) == {"unavailable"}


def test_a_directory_in_place_of_the_source_is_no_disaster(home):
    (home / "source").mkdir(parents=True)
    (told,) = outcomes(home, ["'PING'"], NEVER)
    assert told == "spooled" or told.startswith("flwr_telemetry.")


_CROWD = """
import msgpack, uuid
for turn in range(2):
    os.environ["FLWR_HOME"] = f"{sys.argv[1]}{turn}"
    gate, opener = os.pipe()
    crowd = []
    for _ in range(24):
        pid = os.fork()
        if pid == 0:
            os.close(opener)
            os.read(gate, 1)
            os._exit(0 if outcome(event("PING")) == "spooled" else 1)
        crowd.append(pid)
    os.close(gate)
    os.close(opener)
    assert {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in crowd} == {0}
"""


@pytest.mark.parametrize("empty", [False, True], ids=["no file", "empty file"])
def test_many_processes_agree_on_the_source(home, empty):
    """Processes that emit their first event at once report one ID, the one in the file; in several homes."""
    homes_of_all = [home.with_name(f"{home.name}{turn}") for turn in range(2)]
    for each in homes_of_all:
        each.mkdir()
        if empty:
            (each / "source").touch()
    done = processes.run(home, ["-c", processes.PRELUDE + _CROWD, str(home)], NEVER)
    assert done.returncode == 0, done.stderr
    for each in homes_of_all:
        source = (each / "source").read_text()
        assert source == str(uuid.UUID(source))
        assert uuid.UUID(source).version == 4
        assert stat.S_ISREG((each / "source").lstat().st_mode)
        assert _sources(each) == {source}
        assert len(homes.spooled(each)) == 24
        assert {path.name for path in each.iterdir()} == {"source", "telemetry"}


def test_a_new_source_reaches_a_running_workload(home):
    """The emitter looks at the file again: a changed or deleted ID changes what is reported."""
    with processes.reporter(home, NEVER) as report:

        def emit():
            assert report() == "spooled"
            return str(homes.spooled(home)[-1]["context"]["source"])

        first = emit()
        (home / "source").write_text(_ID)
        processes.wait_until(lambda: emit() == _ID)
        (home / "source").unlink()
        processes.wait_until(lambda: emit() not in (_ID, first))
        assert uuid.UUID((home / "source").read_text().strip()).version == 4


@pytest.mark.parametrize(
    ("value", "partner"), [(None, "unavailable"), ("", "unavailable"), (_ID, _ID), ("acme", "invalid")]
)
def test_the_partner_is_as_in_flower(home, value, partner):
    answers(home, "print(json.dumps(outcome(event('PING'))))", {**NEVER, "FLWR_TELEMETRY_PARTNER_ID": value})
    assert homes.spooled(home)[0]["context"]["partner"] == partner
