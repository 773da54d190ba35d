"""Every opt-out, `disable` and `enable`, and what is left afterwards."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest

from tests.support import homes, processes, records
from tests.support.commands import answer_of, ran
from tests.support.hosts import private_mounts
from tests.support.processes import IS_ROOT, NEVER, command

ALWAYS = {"FLWR_TELEMETRY_SIDECAR": "always"}
LOGGING = {"FLWR_TELEMETRY_LOGGING": "1"}
MARK = " - POST - "
SOMEBODY = 12345

NO_SETTINGS = ""
USER_NO, USER_YES = "# mine\nenabled = false\n", "# mine\nenabled = true\n"

# The environment, and the user's file: every pair of these is an opt-out. `test_the_decision` has the others.
NOES = [
    *(({"FLWR_TELEMETRY_ENABLED": value}, NO_SETTINGS) for value in ("0", "", "nonsense")),
    ({"DO_NOT_TRACK": "true"}, NO_SETTINGS),
    ({"DO_NOT_TRACK": "0", "FLWR_TELEMETRY_ENABLED": "0"}, NO_SETTINGS),
    ({"FLWR_TELEMETRY_ENABLED": "0"}, USER_YES),
    ({"DO_NOT_TRACK": "1"}, USER_YES),
    ({}, USER_NO),
    ({"DO_NOT_TRACK": "0"}, USER_NO),
    ({"FLWR_TELEMETRY_ENABLED": "1", "DO_NOT_TRACK": "1"}, USER_NO),
]

EMIT = processes.PRELUDE + "print(outcome(event('PING', {'n': 1})))\n"
DAEMON = ["-m", "flwr_telemetryd"]
COMMAND = ["-m", "flwr_telemetryd.cli"]


def payloads(stderr):
    return [json.loads(line.partition(MARK)[2]) for line in stderr.splitlines() if MARK in line]


def assert_no_is_kept(home, done, before):
    """Assert that a workload was told `disabled`, showed what it would have sent, and did nothing else."""
    assert done.returncode == 0, done.stderr
    assert done.stdout == "disabled\n"
    (payload,) = payloads(done.stderr)
    assert (payload["event_type"], payload["event_details"]) == ("PING", {"n": 1})
    assert payload["context"]["source"] == "unavailable"
    assert homes.tree(home.parent) == before
    assert processes.processes_of(home) == {}


@pytest.mark.parametrize(("env", "settings"), NOES, ids=str)
def test_every_no_logs_at_most(home, env, settings):
    """Every opt-out logs the would-be payload if asked to, and makes no file, directory or process."""
    if settings:
        homes.write_settings(home, settings)
    before = homes.tree(home.parent)
    assert_no_is_kept(home, processes.run(home, ["-c", EMIT], {**ALWAYS, **LOGGING, **env}), before)


@pytest.mark.skipif(not IS_ROOT, reason="only root can own nothing of a home")
@pytest.mark.parametrize("theirs", ["home", "parent"])
def test_a_home_of_somebody_else_logs_at_most(home, theirs):
    """Under sudo the would-be payload is shown as everywhere, and the other's home stays as it is."""
    if theirs == "home":
        home.mkdir()
    os.chown(home if theirs == "home" else home.parent, SOMEBODY, SOMEBODY)
    before = homes.tree(home.parent)
    assert_no_is_kept(home, processes.run(home, ["-c", EMIT], {**ALWAYS, **LOGGING}), before)


@pytest.mark.parametrize("env", [{"DO_NOT_TRACK": "1", "FLWR_TELEMETRY_ENABLED": "1"}, LOGGING], ids=str)
def test_a_yes_with_logging_spools_too(home, env):
    """An explicit yes over DO_NOT_TRACK, and logging alone, spool what is shown, once."""
    homes.write_settings(home, USER_YES)
    done = processes.run(home, ["-c", EMIT], {**NEVER, **LOGGING, **env})
    assert done.stdout == "spooled\n", done.stderr
    (payload,) = payloads(done.stderr)
    (spooled,) = homes.spooled(home)
    assert (
        payload["context"]["source"] == spooled["context"]["source"] == (home / "source").read_text().strip()
    )


@pytest.fixture
def site(tmp_path):
    """Give a function that runs Python where the site's file says something, which no other process sees."""
    etc = tmp_path / "etc"
    (etc / "flwr").mkdir(parents=True)
    for name in ("passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "localtime"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), etc / name)
    within = [*private_mounts(), "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(etc), sys.executable]

    def run(text, home, arguments, env=None):
        (etc / "flwr" / "telemetry.toml").write_text(text)
        return processes.program(home, [*within, *arguments], env)

    return run


def test_a_no_of_the_site_is_a_no(home, site):
    """The site's opt-out wins over the variable and the user's file, and `enable` names its file."""
    homes.write_settings(home, USER_YES)
    yes = {**ALWAYS, **LOGGING, "FLWR_TELEMETRY_ENABLED": "1"}
    before = homes.contents(home.parent)
    no = "# ours\nenabled = false\n"
    for text in (no, "enabled =\n"):
        assert_no_is_kept(home, site(text, home, ["-c", EMIT], yes), homes.tree(home.parent))
    assert homes.contents(home.parent) == before
    done = site(no, home, [*COMMAND, "enable"], {"COLUMNS": "200"})
    assert done.returncode == 3, done.stderr
    assert "/etc/flwr/telemetry.toml" in done.stdout + done.stderr
    told = json.loads(site(no, home, [*COMMAND, "status", "--json"]).stdout)
    assert told["enabled"] is False
    assert "/etc/flwr/telemetry.toml" in json.dumps(told)
    assert told["decided_by"] != answer_of(home, "status")["decided_by"]


def test_status_answers_first_of_all_who_decided(home):
    """`enabled` and `decided_by` tell default, variable and user file apart; the text begins with it."""

    def told(**env):
        answer = answer_of(home, "status", env=env)
        assert answer["enabled"] or "config.toml" in answer["reason"] or next(iter(env)) in answer["reason"]
        return answer["enabled"], answer["decided_by"]

    default, variable = told(), told(FLWR_TELEMETRY_ENABLED="0")
    homes.write_settings(home, USER_NO)
    user = told(FLWR_TELEMETRY_ENABLED="1")
    assert [on for on, _ in (default, variable, user)] == [True, False, False]
    assert len({by for _, by in (default, variable, user) if by}) == 3
    text = command(home, "status", env={"COLUMNS": "200"}).stdout
    assert "off" in text.strip().splitlines()[0].lower()
    assert str(homes.config_file(home)) in text
    assert "line 2" in text


# What stands before, the line about `enabled`, what stands after, and the comment in that line.
SETTINGS = {
    "nothing about it": (b'# mine\nurl = "http://127.0.0.1:9/"\n\nbursts = false # none\n', b"", b""),
    "no, with a reason": (b"idle_exit_s = 7\n", b"enabled = false  # never again\n", b"  # indented\n"),
    "the last line, cut short": (b"idle_exit_s = 7\n", b"enabled = true", b""),
    "carriage returns": (b"# mine\r\n", b"enabled = true\r\n", b"idle_exit_s = 7\r\n"),
}


def assert_changed(home, name, *, enabled):
    """Assert that the file says so, and that all else in it is what it was."""
    head, line, tail = SETTINGS[name]
    now = homes.config_file(home).read_bytes()
    was = tomllib.loads((head + line + tail).decode())
    assert tomllib.loads(now.decode()) == {**was, "enabled": enabled}
    assert head in now
    assert tail in now
    assert now.index(head) + len(head) <= now.rindex(tail)
    assert line.partition(b"#")[2].strip() in now
    assert homes.has_mode(homes.config_file(home), 0o600)
    assert [path.name for path in homes.telemetry(home).iterdir() if path.is_file()] == ["config.toml"]


@pytest.mark.parametrize("name", SETTINGS)
def test_only_one_line_of_the_settings_changes(home, name):
    """`disable` and then `enable` keep every other line and comment, byte for byte."""
    homes.write_settings(home, b"".join(SETTINGS[name]))
    ran(home, "disable")
    assert_changed(home, name, enabled=False)
    ran(home, "enable")
    assert_changed(home, name, enabled=True)


def test_a_fresh_home_gets_the_setting_and_nothing_else(home, tmp_path):
    """`--home` names another home than the variable; twice is as good as once; `enable` is the way back."""
    elsewhere = tmp_path / "elsewhere"
    for _ in range(2):
        told = answer_of(elsewhere, "disable", "--home", str(home))
        assert told.keys() == {"enabled", "decided_by", "reason", "change", "purged", "sidecar_ended"}
        assert told["enabled"] is False
        assert told["purged"] == {"events": 0, "bodies": 0}
        assert isinstance(told["sidecar_ended"], bool)
        assert "config.toml" in told["reason"]
        assert told["change"]
        assert homes.tree(home.parent) == [".flwr", ".flwr/telemetry", ".flwr/telemetry/config.toml"]
    assert homes.has_mode(homes.telemetry(home), 0o700)
    assert_no_is_kept(home, processes.run(home, ["-c", EMIT], {**ALWAYS, **LOGGING}), homes.tree(home.parent))
    told = answer_of(elsewhere, "enable", "--home", str(home))
    assert told.keys() == {"enabled", "decided_by", "reason", "change"}
    assert told["enabled"] is True
    assert not elsewhere.exists()
    processes.spool_events(home)


@pytest.mark.parametrize("data", [b'url = "\xff\xfe"\n', b'enabled = "false"\n'])
def test_settings_that_cannot_be_understood(home, data):
    """`enable` leaves them as they are; `disable` keeps them under another name, and telemetry is off."""
    homes.write_settings(home, data)
    assert command(home, "enable").returncode == 5
    assert homes.contents(home) == {"telemetry/config.toml": data}
    assert answer_of(home, "disable")["enabled"] is False
    files = homes.contents(home)
    assert tomllib.loads(files.pop("telemetry/config.toml").decode()) == {"enabled": False}
    assert files == {"telemetry/config.toml.malformed": data}
    assert command(home, "enable").returncode == 0


def test_enable_tells_who_still_says_no(home):
    """The file says yes, the exit code is 3, and both forms of the answer name the variable."""
    homes.write_settings(home, USER_NO)
    env = {"DO_NOT_TRACK": "1"}
    done = ran(home, "enable", env={**env, "COLUMNS": "200"}, code=3)
    assert "DO_NOT_TRACK" in done.stdout + done.stderr
    assert tomllib.loads(homes.config_file(home).read_text()) == {"enabled": True}
    told = answer_of(home, "enable", env=env, code=3)
    assert told["enabled"] is False
    assert "DO_NOT_TRACK" in told["reason"]


STARTED_BY_A_PERSON = {
    "--once": [*DAEMON, "--once"],
    "--service": [*DAEMON, "--service"],
    "no option": DAEMON,
    "flush": [*COMMAND, "flush"],
    "relay": [*COMMAND, "relay", "metrics.jsonl"],
    "service install": [*COMMAND, "service", "install"],
}


@pytest.mark.parametrize("words", STARTED_BY_A_PERSON.values(), ids=STARTED_BY_A_PERSON)
@pytest.mark.parametrize(
    ("settings", "env"),
    [
        ("", {"FLWR_TELEMETRY_ENABLED": ""}),
        ("enabled = true\n", {"DO_NOT_TRACK": "1"}),
        ("enabled =\n", {"FLWR_TELEMETRY_ENABLED": "0"}),
    ],
    ids=["on", "yes", "malformed"],
)
def test_a_person_says_no_to_the_process_that_delivers(home, collector, tmp_path, env, words, settings):
    """It makes nothing, sends nothing, says which variable decides, and ends with 3."""
    homes.configure(home, collector.url, burst_window_s=0)
    homes.write_settings(home, settings + homes.config_file(home).read_text())
    homes.put(home, records.series(2))
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    before = homes.contents(tmp_path)
    done = processes.run(home, words, env, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    if words != DAEMON and settings != "enabled =\n":
        assert f"the variable {next(iter(env))} is" in done.stderr
    assert homes.contents(tmp_path) == before
    assert collector.connections == 0


def test_a_yes_over_do_not_track_reaches_the_sidecar_that_it_starts(home, collector):
    """The emitter passes neither variable on, so its sidecar decides by the files."""
    homes.configure(home, collector.url)
    env = {"FLWR_TELEMETRY_ENABLED": "1", "DO_NOT_TRACK": "1"}
    assert processes.emit(home, 2, env=env) == ["spooled"] * 2
    processes.wait_until(lambda: len(collector.events()) == 2)
    homes.put(home, records.series(1))
    ran(home, "flush", "--timeout", "50", env={**NEVER, **env})


@pytest.mark.skipif(not IS_ROOT, reason="only root can give a home away")
@pytest.mark.parametrize("words", ["disable", "enable", "forget --yes"])
def test_a_home_of_another_user_is_left_alone(home, words):
    processes.spool_events(home)
    os.chown(home, SOMEBODY, SOMEBODY)
    before = homes.contents(home)
    ran(home, *words.split(), code=5)
    assert homes.contents(home) == before


def left_by_disable(home):
    hosts = [homes.host(home), homes.host(home, "node-7")]
    return {
        *("source", "telemetry", "telemetry/config.toml", "telemetry/forgotten"),
        *(
            (host / name).relative_to(home).as_posix()
            for host in hosts
            for name in (".", "sent", "sidecar.lock")
        ),
        *(path.relative_to(home).as_posix() for host in hosts for path in host.glob("sent/*.jsonl")),
    }


def test_disable_deletes_and_counts_what_was_not_sent(home, collector):
    """All of every host goes; the setting, the ID, what was forgotten and sent/ stay."""
    homes.put(home, records.series(2))
    processes.deliver(home)
    collector.answer_by(lambda _request: 503)
    homes.put(home, [*records.series(3), records.sample(event_type="OTHER")])
    processes.once(home)
    assert len(homes.waiting(home)) == 2
    homes.put(home, records.series(2))
    homes.put(home, records.series(4), name="sealed-1700000000000000000-abcd.msgpack")
    homes.put(home, records.series(5), host_of="node-7")
    work = homes.host(home, "node-7") / "work" / "1700000000000000000-abcd.dead"
    work.mkdir(mode=0o700, parents=True)
    homes.put(home, records.series(6), host_of="node-8").rename(
        work / "sealed-1700000000000000000-ab.msgpack"
    )
    shutil.rmtree(homes.host(home, "node-8"))
    for host in (homes.host(home), homes.host(home, "node-7")):
        for name in ("rejected/ab.json", "rejected/ab.reason.txt", "damaged/cd", "work/b.o/ef.json"):
            (host / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (host / name).write_text("{}")
        for name in ("dropped", "not-before", "sidecar.lock", "sidecar.json", "sidecar.log", "sidecar.log.1"):
            (host / name).touch(mode=0o600)
    (homes.telemetry(home) / "service-node-7.json").write_text("{}")
    forgotten = homes.telemetry(home) / "forgotten"
    forgotten.write_text("0" * 64 + "\n")
    (home / "source").write_text("9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1")
    (home / "config.toml").write_text("# Flower's own\n")
    kept = {name: data for name, data in homes.contents(home).items() if "/sent/" in name}
    kept |= {name: (home / name).read_bytes() for name in ("source", "config.toml", "telemetry/forgotten")}
    assert len(kept) == 5
    requests = len(collector.requests)
    assert answer_of(home, "disable")["purged"] == {"events": 3 + 1 + 2 + 4 + 5 + 6, "bodies": 2}
    assert set(homes.tree(home)) - left_by_disable(home) == {"config.toml"}
    assert kept.items() <= homes.contents(home).items()
    assert answer_of(home, "status")["enabled"] is False
    processes.once(home)
    assert len(collector.requests) == requests


_RESTLESS = """
import time
def until(wanted):
    deadline = time.monotonic() + 50
    seen = set()
    while wanted not in seen:
        assert time.monotonic() < deadline, wanted
        seen.add(outcome(event("PING")))
        time.sleep(0.005)
    return sorted(seen)
def tell(word):
    sys.stdout.write(json.dumps(word) + "\\n")
    sys.stdout.flush()
tell(until("spooled"))
tell(until("disabled"))
sys.stdin.readline()
tell(sorted({outcome(event("PING")) for _ in range(200)}))
sys.stdin.readline()
tell(until("spooled"))
"""


def test_switching_off_reaches_everybody_who_runs(home, collector):
    """A workload that never pauses and a sidecar amid its work obey; nothing comes back; `enable` does."""
    homes.configure(home, collector.url, idle_exit_s=600)
    child = processes.start(
        home, ["-c", processes.PRELUDE + _RESTLESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    orders, answers = child.stdin, child.stdout

    def told():
        return json.loads(answers.readline())

    def go_on():
        orders.write("\n")
        orders.flush()

    try:
        assert told() == ["spooled"]
        processes.wait_until(lambda: homes.sent(home))
        collector.answer_by(lambda _request: 503)
        processes.wait_until(lambda: homes.waiting(home))
        answer = answer_of(home, "disable")
        requests = len(collector.requests)
        assert answer["sidecar_ended"] is True
        assert answer["purged"]["events"] > 0
        assert answer["purged"]["bodies"] > 0
        assert homes.unsent_files(home) == []
        assert set(told()) <= {"spooled", "disabled"}
        processes.wait_for_end(home)
        assert set(homes.tree(home)) <= left_by_disable(home)
        before = homes.contents(home)
        go_on()
        assert told() == ["disabled"]
        assert homes.contents(home) == before
        # A sidecar that the workload had just started ends by itself.
        processes.wait_until(lambda: list(processes.processes_of(home)) == [child.pid])
        assert len(collector.requests) == requests
        collector.answer_by(lambda _request: 200)
        assert command(home, "enable").returncode == 0
        go_on()
        assert "spooled" in told()
        processes.emit(home)  # the workload may have looked for a sidecar within this second
        processes.wait_until(lambda: len(collector.requests) > requests)
    finally:
        child.communicate()
    assert child.returncode == 0


def test_a_stopped_sidecar_holds_nobody_up(home, collector):
    """`disable` tells that it still lives, and purges all the same; when it goes on, it only ends."""
    homes.configure(home, collector.url, idle_exit_s=600)
    collector.answer_by(lambda _request: 503)
    processes.emit(home, 2)
    processes.wait_until(lambda: homes.waiting(home))
    sidecar = psutil.Process(processes.running_sidecar(home))
    sidecar.suspend()
    answer = answer_of(home, "disable")
    requests = len(collector.requests)
    assert (answer["sidecar_ended"], answer["purged"]) == (False, {"events": 2, "bodies": 1})
    assert homes.unsent_files(home) == []
    sidecar.resume()
    processes.wait_for_end(home)
    assert len(collector.requests) <= requests + 1  # the one that was in flight
    assert set(homes.tree(home)) <= left_by_disable(home)
