"""The commands that show (inspect, fields, doctor), and the names that never leave a process."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support import homes, ports, processes, records, strategies, wire
from tests.support.commands import answer_of, ran
from tests.support.processes import NEVER, command
from tests.support.tls import TlsCollector

WIDE = {"COLUMNS": "200"}


# --- inspect ---------------------------------------------------------------------------------------------

_AGES = {
    "PING": [timedelta(hours=5), timedelta(minutes=90), timedelta(seconds=30)],
    "START_SERVER_ENTER": [timedelta(days=4)],
    "START_SERVER_LEAVE": [timedelta(minutes=5)],
}


def furnish_outbox(home, collector, now):
    """Let a body of each type wait, the first a burst, their events so old; give each body's text."""
    collector.answer_by(lambda _request: 503)
    payloads = [
        records.sample(
            {"n": number}, event_type=kind, cluster="c", date_us=wire.microseconds((now - age).isoformat())
        )
        for kind, ages in _AGES.items()
        for number, age in enumerate(ages)
    ]
    homes.put(home, payloads)
    processes.once(home)
    bodies = [path.read_text() for path in homes.waiting(home)]
    assert len(bodies) == 3
    return {json.loads(body)["event_type"]: body for body in bodies}


def shown(home, *arguments, stage="outbox"):
    done = ran(home, "inspect", "--stage", stage, "--json", *arguments)
    return sorted(done.stdout.splitlines())


def numbers(home, *arguments):
    return wire.serials(map(json.loads, shown(home, "--expand", *arguments)))


def test_inspect_shows_bodies_of_which_an_event_fits(home, collector):
    """`--event` and `--since` choose bodies, and with `--expand` events; the lines are the very bytes."""
    now = datetime.now(UTC)
    body = furnish_outbox(home, collector, now)
    ping, enter, leave = body["PING"], body["START_SERVER_ENTER"], body["START_SERVER_LEAVE"]
    two_days_ago = now - timedelta(days=2)
    for arguments, expected in (
        ((), [ping, enter, leave]),
        (("--event", "PING"), [ping]),
        (("--event", "start_*"), [enter, leave]),
        (("--event", "Start_Server_?????", "--since", "3d"), [leave]),
        (("--event", "PIN"), []),
        (("--since", "240s"), [ping]),
        (("--since", "2h"), [ping, leave]),
        (("--since", "5d"), [ping, enter, leave]),
        (("--since", two_days_ago.date().isoformat()), [ping, leave]),
        (("--since", (now - timedelta(minutes=2)).isoformat()), [ping]),
        (("--since", (now - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")), [ping, leave]),
    ):
        assert shown(home, *arguments) == sorted(expected), arguments
    assert numbers(home, "--event", "ping", "--since", "10min") == [2]
    assert numbers(home, "--since", "2h") == [0, 1, 2]
    assert numbers(home, "--event", "ping") == [0, 1, 2]


def test_inspect_of_a_copied_spool(home, collector, tmp_path):
    """`--home` reads what was copied from another machine, in every stage, and changes nothing."""
    collector.answer_by(lambda request: 422 if b"REFUSED" in request.body else 200)
    homes.put(home, [*records.series(3), records.sample(event_type="REFUSED")])
    processes.deliver(home)
    furnish_outbox(home, collector, datetime.now(UTC))
    processes.spool_events(home, 2)
    copy = tmp_path / "copy" / "flwr"
    homes.copy_tree(home, copy)
    homes.host(copy).rename(homes.host(copy, "node-7"))
    before = homes.contents(copy)
    elsewhere = tmp_path / "elsewhere"
    for stage, count in (("sent", 1), ("rejected", 1), ("outbox", 3), ("spool", 2), ("all", 7)):
        lines = shown(elsewhere, "--home", str(copy), stage=stage)
        assert lines == shown(home, stage=stage)
        assert len(lines) == count
    assert shown(elsewhere, "--home", str(copy), stage="sent") == [line.decode() for line in homes.sent(home)]
    text = ran(elsewhere, "inspect", "--home", str(copy), env=WIDE)
    assert "START_SERVER_LEAVE" in text.stdout
    assert "\x1b" not in text.stdout
    assert homes.contents(copy) == before
    assert not elsewhere.exists()


# --- fields ----------------------------------------------------------------------------------------------


def fields(home, **env):
    told = answer_of(home, "fields", env=env)
    assert all(field.keys() == {"name", "type", "example", "why"} for field in told)
    by_name = {field["name"]: field for field in told}
    assert len(by_name) == len(told)
    return by_name


def leaves(value, path=""):
    """Give the dotted paths of a body; the details and the rows of a burst count as one each."""
    if isinstance(value, dict) and path != "event_details":
        return {leaf for name, inner in value.items() for leaf in leaves(inner, f"{path}.{name}".strip("."))}
    return {path}


def test_fields_are_told_without_a_trace(home):
    """Each has a type and a reason, telemetry may be off, and nothing is created; nor is it by `status`."""
    assert answer_of(home, "status")["enabled"]
    ran(home, "status")
    told = fields(home, FLWR_TELEMETRY_ENABLED="0")
    assert all(field["type"] and field["why"].strip() for field in told.values())
    text = ran(home, "fields", env=WIDE)
    assert [name for name in told if name.rpartition(".")[2] not in text.stdout] == []
    assert "\x1b" not in text.stdout
    assert homes.tree(home.parent) == []


def test_whatever_is_delivered_is_among_the_fields(home, collector):
    """Plain, in a burst, of an adopted host and of flwr-datasets: no body has a path that is not told."""
    homes.configure(home, collector.url, adopt_after_s=60)
    processes.spool_events(home, 3, {"a": {"b": [1]}})
    processes.spool_events(home, 1, event_type="ALONE")
    adopted = homes.put(
        home, [*records.series(2), records.of_datasets(records.sample({"n": 9}))], host_of="node-7"
    )
    homes.age(adopted, 3600)
    homes.age(adopted.parent, 3600)
    processes.deliver(home, times=3)
    bodies = [json.loads(body) for body in collector.accepted.values()]
    assert len(collector.events()) == 7
    told = fields(home)
    delivered = set().union(*map(leaves, bodies))
    assert delivered - told.keys() == set()
    assert {"burst.events", "event_details", "context.hw.memory_gib", "context.source"} <= delivered
    here = next(body for body in bodies if body["event_type"] == "ALONE")["context"]
    for name in ("system", "machine", "python_version", "release"):
        assert here["platform"][name] in str(told[f"context.platform.{name}"]["example"])


# --- doctor ----------------------------------------------------------------------------------------------


def doctor(home, **env):
    """Give the exit code, and the checks by verdict."""
    done = command(home, "doctor", "--json", env=env)
    assert "Traceback" not in done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert all({"name", "verdict", "found", "advice"} == check.keys() for check in checks)
    by_verdict = {"ok": [], "note": [], "fault": [], "skipped": []}
    for check in checks:
        by_verdict[check["verdict"]].append(check)
    assert done.returncode == (1 if by_verdict["fault"] else 0)
    assert all(check["advice"].strip() for check in by_verdict["fault"])
    return done.returncode, by_verdict


def test_a_sound_machine_has_no_fault(home, collector):
    """All is looked at, the collector too, and no event and no POST is made; text and JSON agree."""
    homes.put(home, records.series(2))
    before = homes.contents(home)
    code, told = doctor(home)
    assert (code, told["fault"]) == (0, [])
    assert len(told["ok"]) >= 3
    assert "\x1b" not in ran(home, "doctor", env=WIDE).stdout
    assert collector.connections > 0
    assert {request.method for request in collector.requests} <= {"GET", "HEAD", "OPTIONS"}
    assert [request for request in collector.requests if request.body or request.key] == []
    assert homes.contents(home) == before


def test_doctor_judges_the_certificate(home, tmp_path):
    """A collector with a trusted certificate is in order; another one is a fault; neither gets a POST."""
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with TlsCollector(authority.issue_cert("127.0.0.1")) as server:
        homes.configure(home, server.url, ca_bundle=str(bundle))
        assert doctor(home, https_proxy=None)[1]["fault"] == []
        server.show(trustme.CA().issue_cert("127.0.0.1"))
        assert "certificate" in json.dumps(doctor(home, https_proxy=None)[1]["fault"]).lower()
        assert [request.method for request in server.requests if request.method == "POST"] == []


def test_a_collector_that_is_not_there_is_a_fault(home):
    (port,) = ports.free(1)
    homes.configure(home, f"http://127.0.0.1:{port}/x")
    assert str(port) in json.dumps(doctor(home)[1]["fault"])
    assert str(port) in ran(home, "doctor", env=WIDE, code=1).stdout


@pytest.mark.parametrize("place", ["home", "telemetry", "spool", "spool of another host"])
def test_a_directory_that_others_can_write_to_is_a_fault(home, collector, place):
    """The home, ours in it, and a spool of any host: it is named, and left as it is."""
    homes.put(home, records.series(1))
    theirs = homes.put(home, records.series(1), host_of="node-7").parent
    places = {"home": home, "telemetry": homes.telemetry(home), "spool": homes.spool(home)}
    directory = places.get(place, theirs)
    directory.chmod(0o777)
    assert str(directory) in json.dumps(doctor(home)[1]["fault"])
    assert directory.stat().st_mode & 0o777 == 0o777


def test_doctor_is_silent_where_telemetry_is_off(home, collector):
    """No connection is opened, nothing is created; what needs the network is skipped."""
    assert doctor(home / "fresh", DO_NOT_TRACK="1")[0] == 0
    assert not (home / "fresh").exists()
    for env, settings_text in (({"FLWR_TELEMETRY_ENABLED": "0"}, ""), ({}, "enabled = false\n")):
        homes.write_settings(home, settings_text + homes.config_file(home).read_text())
        before = homes.tree(home.parent), homes.contents(home.parent)
        code, told = doctor(home, **env)
        assert (code, bool(told["skipped"])) == (0, True)
        assert (homes.tree(home.parent), homes.contents(home.parent)) == before
    assert collector.connections == 0


# --- names -----------------------------------------------------------------------------------------------

NODE = "heart-of-gold"

# A node name that only this process and its children have, where that is permitted.
_NAMED = f"""
import ctypes, os, socket
if os.name != "nt" and ctypes.CDLL(None).unshare(0x04000000) == 0:
    socket.sethostname({NODE!r})
"""
_EMIT = """
told = [outcome(event("PING", details)) for details in json.load(sys.stdin)]
import socket
print(json.dumps([socket.gethostname(), told]))
"""
_ONCE = """
import runpy, sys
sys.argv[1:] = ["--once"]
runpy.run_module("flwr_telemetryd", run_name="__main__")
"""

SOME = settings(strategies.tried(4), phases=[Phase.explicit, Phase.generate])
USERS = st.sampled_from(["zaphod", "Trillian.McMillan", "f_prefect42", "zoë"])
BEFORE = st.sampled_from(["", " ", "'", '"', "(", "a=", "x:", "\n", "\0", "🌸", "see ", "file://", "[", ", "])
AFTER = st.sampled_from(["", " ", "'", '"', ")", ":1", "/x.csv", "\n", "\0", "🌸", ", then", "]", ";", "/"])
CASES = st.sampled_from([str, str.upper, str.lower, str.title, str.swapcase])


def batches(names):
    """Give details that hold names as whole tokens, in any case, in keys and values at any depth."""
    in_place = st.tuples(
        BEFORE, st.builds(lambda case, name: case(name), CASES, st.sampled_from(names)), AFTER
    )
    told = in_place.map("".join)
    in_a_path = st.builds(lambda name, case: f"/data/{case(name)}/x", st.sampled_from(names[1:]), CASES)
    sentence = st.lists(told | in_a_path | strategies.words(), min_size=1, max_size=4).map(" ".join)
    details = strategies.details(sentence | strategies.words(max_size=5))
    named = st.builds(lambda inner, text: {**inner, "told": text}, details, told)
    return st.lists(named, min_size=20, max_size=30)


def seen_in(data, names):
    """Give the names that can be read in it, whatever the case, also in the way JSON writes them."""
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    readings = [text.lower()]
    if text.startswith("{"):
        readings.append(json.dumps(json.loads(text), ensure_ascii=False).lower())
    return [name for name in names for reading in readings if name.lower() in reading]


def test_no_name_leaves_the_process(home, collector):
    """No segment, body or request holds the home, the user or the host, wherever the details hold it."""
    turns = iter(range(1000))
    node = processes.run(home, ["-c", _NAMED + "print(socket.gethostname())"]).stdout.strip()

    @SOME
    @given(user=USERS, data=st.data())
    def check(user, data):
        here = home / str(next(turns))  # below the home, so that what runs for it is found
        user_home = home.parent / f"Users of {node[:3]}" / "the-home"
        names = [str(user_home), user, *([node] if node == NODE else [])]
        batch = data.draw(batches(names), label="details")
        env = {**NEVER, "HOME": str(user_home), "USERPROFILE": str(user_home), "USER": user, "LOGNAME": user}
        homes.configure(here, collector.url)
        collector.answer_with(503)
        emitted = processes.run(
            here, ["-c", _NAMED + processes.PRELUDE + _EMIT], env, stdin=None, input=json.dumps(batch)
        )
        assert emitted.returncode == 0, emitted.stderr
        told_node, told = json.loads(emitted.stdout)
        assert told_node == node
        (segment,) = homes.telemetry(here).glob("*/spool/events.msgpack")
        spooled = segment.read_bytes()
        assert len(records.decode(spooled)) == told.count("spooled")
        before = len(collector.requests)
        processes.run(here, ["-c", _NAMED + _ONCE], env)
        bodies = [path.read_bytes() for path in homes.telemetry(here).glob("*/outbox/*/*.json")]
        delivered = processes.run(here, ["-c", _NAMED + _ONCE], env)
        assert delivered.returncode == 0, delivered.stderr
        sent = [path.read_bytes() for path in homes.telemetry(here).glob("*/sent/????-??-??.jsonl")]
        requests = collector.requests[before:]
        heads = [json.dumps([request.path, *request.headers.items()]) for request in requests]
        assert len(requests) > len(bodies) > 0
        lines = [line for archive in sent for line in archive.splitlines()]
        for data_seen in (spooled, *bodies, *lines, *heads, *(request.body for request in requests)):
            assert seen_in(data_seen, names) == []
        assert b"<redacted>" in spooled

    check()


def test_ordinary_words_are_not_shredded(home):
    """Under a short or common user name, words that merely hold it, and the word itself, go out whole."""
    words = {"a": "a flower and a root", "b": "banana", "c": "rootless flowers", "d": "FLOWER", "root": "a"}
    for user in ("a", "root", "flower"):
        env = {"USER": user, "LOGNAME": user, "HOME": f"/home/{user}"}
        processes.spool_events(home, 1, words, env=env)
    assert [event["event_details"] for event in homes.spooled(home)] == [{**words, "n": 0}] * 3
