"""`upload = false`: events are collected and shown, and never sent, also not later."""

import json

import pytest

from tests.support import homes, processes, records, wire
from tests.support.collector import ANSWERS
from tests.support.commands import RECORD_LOGS, answer_of, ran
from tests.support.processes import NEVER

OFF = {"FLWR_TELEMETRY_UPLOAD": "0"}

# Before a program: it ends at once where anything on the way to a network is used.
TRAP = """
import os, sys
def trap(event, _arguments):
    if event in TRAPPED:
        os.write(2, f"TRAPPED {event}".encode())
        os._exit(99)
sys.addaudithook(trap)
"""
SENDING = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"}


def trapped(home, code, *, also=(), env=None):
    """Run a program that must not use a network; give what it printed."""
    script = f"TRAPPED = {SENDING | set(also)!r}\n{TRAP}\n{code}"
    done = processes.run(home, ["-c", script], {**NEVER, **(env or {})})
    assert "TRAPPED" not in done.stderr, done.stderr
    return done


def test_no_name_is_asked_for_and_no_socket_is_made(home):
    """By the emitter and the sidecar; the commands may make one, and must not use it."""
    homes.configure(home, "https://collector.invalid/v1", upload=False)
    trapped(home, "from flwr_telemetry import event\nprint(event('PING').result())", also=["socket.__new__"])
    sidecar = "from flwr_telemetryd.sidecar.process import main\nsys.exit(main(['--once']))"
    assert trapped(home, sidecar, also=["socket.__new__"]).returncode == 0
    assert [receipt["to"] for receipt in homes.receipts(home)] == ["nowhere"]
    homes.put(home, records.series(1))
    for words in (["flush"], ["status"], ["doctor"], ["view", "-o", "-"], ["inspect"], ["relay", __file__]):
        code = f"sys.argv[1:] = {words!r}\nfrom flwr_telemetryd.cli import main\nmain()"
        done = trapped(home, code)
        assert done.returncode == {"relay": 3}.get(words[0], 0), done.stdout + done.stderr
    assert len(homes.receipts(home)) == 2


def test_what_was_collected_is_never_sent_later(home, collector):
    """What waited in the outbox, in the spool, and what is in the archive, also after a `Retry-After`."""
    collector.answer_by(lambda _request: ANSWERS["retry in an hour"])
    homes.configure(home, collector.url)
    processes.spool_events(home, 1, start_at=0)
    processes.once(home)
    assert len(homes.waiting(home)) == 1
    tried = len(collector.requests)
    homes.configure(home, collector.url, upload=False)
    processes.spool_events(home, 1, start_at=1)
    assert ran(home, "flush").stdout == "Kept 2 events on this machine, never to be sent (upload = false).\n"
    processes.spool_events(home, 1, start_at=2)
    (homes.host(home) / "not-before").unlink()
    collector.answer_by(lambda _request: 200)
    homes.configure(home, collector.url)
    processes.spool_events(home, 1, start_at=3)
    told = ran(home, "flush").stdout
    assert told == ("Delivered 1 event.\nKept 1 event on this machine, never to be sent (upload = false).\n")
    assert len(collector.requests) == tried + 1
    assert wire.serials(map(json.loads, collector.accepted.values())) == [3]
    addresses = sorted((line["body"]["event_details"]["n"], line["to"]) for line in meta(home))
    assert addresses == [*((n, "nowhere") for n in range(3)), (3, collector.url)]
    (host,) = answer_of(home, "status")["hosts"]
    assert (host["delivered_events"], host["requests"]) == (1, tried + 1)


def meta(home):
    done = ran(home, "inspect", "--json", "--with-meta", "--stage", "sent")
    return list(map(json.loads, done.stdout.splitlines()))


def test_the_variable_keeps_the_events_of_one_process(home, collector):
    """Another process's events of the same moment are sent. No command sends anything under the variable."""
    homes.configure(home, collector.url)
    processes.spool_events(home, 2, {"who": "kept"}, env=OFF)
    processes.spool_events(home, 2, {"who": "sent"})
    for words in (["flush"], ["relay", __file__]):
        assert "nothing" in ran(home, *words, env=OFF, code=3).stderr
    assert processes.once(home, OFF).returncode == 3
    assert collector.requests == []
    ran(home, "flush")
    sent = [event["event_details"]["who"] for event in wire.expand_all(collector.accepted.values())]
    assert sent == ["sent", "sent"]
    assert {(line["body"]["event_details"]["who"], line["to"]) for line in meta(home)} == {
        ("kept", "nowhere"),
        ("sent", collector.url),
    }


@pytest.mark.parametrize("value", ["", "no", "false", "2"])
def test_all_but_a_yes_is_a_no(home, value):
    processes.spool_events(home, 1, env={"FLWR_TELEMETRY_UPLOAD": value})
    processes.spool_events(home, 1, env={"FLWR_TELEMETRY_UPLOAD": "yes"})
    assert ["upload" in event["context"] for event in homes.spooled(home)] == [True, False]


def test_people_are_told(home):
    """By the line of first contact, `status` and `view`: that nothing is sent, and why."""
    homes.write_settings(home, "upload = false\n")
    code = RECORD_LOGS + "event('PING').result()\nprint(json.dumps(records))"
    (line,) = processes.answers(home, code, NEVER)
    place = f"{homes.config_file(home)}, line 1 says upload = false"
    assert line[1].startswith(
        f"Flower collects anonymous usage metrics here, and sends none of them: {place}."
    )
    status = ran(home, "status").stdout
    assert f"Sent to        nowhere: {place}" in status
    assert answer_of(home, "status")["kept_by"] == place
    page = ran(home, "view", "-o", "-").stdout
    assert "Telemetry is on, and nothing is sent" in page
    assert place in page


def test_hardware_false_leaves_out_the_two_figures(home, collector):
    """Also where they are only shown."""
    homes.configure(home, collector.url, hardware=False)
    processes.spool_events(home, 1)
    (shown,) = ran(home, "inspect", "--json").stdout.splitlines()
    fields = {field["name"]: field["example"] for field in answer_of(home, "fields")}
    processes.once(home)
    (sent,) = collector.accepted.values()
    for body in (json.loads(shown), json.loads(sent)):
        assert list(body["context"]["hw"]) == ["cpu_count"]
    assert fields["context.hw.memory_gib"] is None
