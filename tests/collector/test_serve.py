"""``serve``: its other answers, its end, what it writes, and what it does while the database is away."""

import contextlib
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import uuid

import pytest
import requests

from flwr_telemetry.record import to_wire
from flwr_telemetry_collector.__main__ import main
from tests.support import processes, records
from tests.support.receiving import COMMAND, Serving


def event(source=None, **details):
    return to_wire(records.sample(details, source=source or str(uuid.uuid4())))


def fails(attempt):
    with contextlib.suppress(OSError):
        return attempt()  # which gives nothing
    return True


def test_health_and_metrics(database, tmp_path):
    with Serving(database, tmp_path) as running:
        body = event()
        for one in (body, body, {}):
            running.post(one)
        running.ask("DELETE", f"/api/v1/source/{body['context']['source']}")
        running.post(body)
        assert running.ask("GET", "/healthz").json() == {"status": "ok"}
        told = running.ask("GET", "/metrics").text
        found = dict(re.findall(r"^flwr_collector_(\S+) (\S+)$", told, re.MULTILINE))
        wanted = {
            'bodies_total{outcome="accepted"}': "1",
            'bodies_total{outcome="double"}': "1",
            'bodies_total{outcome="forgotten"}': "1",
            'refused_total{reason="422",field="context"}': "1",
            "events_total": "1",
            "deletions_total": "1",
            "queue": "0",
        }
        assert {name: found.get(name) for name in wanted} == wanted
        assert int(found["commit_seconds_count"]) == int(found['commit_seconds_bucket{le="+Inf"}']) == 3
        names = set(re.findall(r"^(flwr_collector_\w+?)(?:_bucket|_sum|_count)?[{ ]", told, re.MULTILINE))
        assert names == set(re.findall(r"^# TYPE (\w+)", told, re.MULTILINE))


def test_an_error_of_ours_is_counted(tmp_path):
    """Somebody has taken a table away."""
    with Serving(tmp_path / "flwr.db", tmp_path) as running:
        running.post(event())
        with sqlite3.connect(tmp_path / "flwr.db") as database:
            database.execute("DROP TABLE span")
        answer = running.ask("GET", "/")
        assert (answer.status_code, answer.json()) == (500, {"error": "an error of the collector"})
        assert 'refused_total{reason="500",field=""} 1\n' in running.ask("GET", "/metrics").text
        assert "Traceback" not in running.printed()


def test_the_page_needs_the_token(tmp_path):
    """As a bearer, or as the password that a browser asks for. Events need none."""
    token = tmp_path / "token"
    token.write_text("a secret\n")
    with Serving(tmp_path / "flwr.db", tmp_path, "--token-file", token) as running:
        answers = [running.ask("GET", "/"), running.ask("GET", "/", auth=("x", "another"))]
        assert [answer.status_code for answer in answers] == [401, 401]
        assert answers[0].headers["WWW-Authenticate"].startswith("Basic")
        assert running.ask("GET", "/", auth=("anybody", "a secret")).status_code == 200
        page = running.ask("GET", "/", headers={"Authorization": "Bearer a secret"})
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "< 5" in page.text or "too few" in page.text
        assert running.post(event()).status_code == 201
        assert running.ask("GET", "/metrics").status_code == 200


def test_no_address_of_a_client_is_kept(tmp_path):
    """Neither that of the connection nor one that a proxy names, whatever is asked for, and however wrong."""
    mine, named = "127.77.66.55", "203.0.113.77"
    database = tmp_path / "state" / "flwr.db"
    database.parent.mkdir()
    with Serving(database, tmp_path) as running:
        body = json.dumps(event()).encode()
        head = f"Host: x\r\nX-Forwarded-For: {named}\r\nForwarded: for={named}\r\nX-Real-IP: {named}\r\n"
        whole = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        for line, rest in (
            ("POST /api/v1/event HTTP/1.1", whole),
            ("POST /api/v1/event HTTP/1.1", b"Content-Length: 2\r\n\r\n{}"),
            ("DELETE /api/v1/source/none HTTP/1.1", b"\r\n"),
            ("GET / HTTP/1.1", b"\r\n"),
            ("GET / HTTP/1.1", b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            ("no request", b"\r\n"),
        ):
            with socket.create_connection(("127.0.0.1", running.port), source_address=(mine, 0)) as client:
                client.sendall(f"{line}\r\n{head}".encode() + rest)
                assert client.recv(100).startswith(b"HTTP/1.1 ")
        assert running.stop() == 0
    assert len(running.events()) == 1
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [data for data in written if mine.encode() in data or named.encode() in data]


def test_sigterm_answers_what_was_accepted(database, tmp_path):
    """Every body that is in the database was answered, and the process ends well."""
    accepted = []
    with Serving(database, tmp_path) as running:

        def client():
            session = requests.Session()
            with contextlib.suppress(requests.RequestException):
                while True:
                    body = event()
                    if session.post(running.url, json=body, timeout=60).status_code == 201:
                        accepted.append(body["context"]["source"])

        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        processes.wait_until(lambda: len(accepted) > 40)
        assert running.stop() == 0
        for thread in threads:
            thread.join()
        assert sorted(one["context"]["source"] for one in running.events()) == sorted(accepted)


def test_a_request_that_is_still_coming_is_answered(tmp_path):
    """Its head was there before SIGTERM; nobody else is let in meanwhile."""
    body = json.dumps(event()).encode()
    with Serving(tmp_path / "flwr.db", tmp_path, "--drain", 60) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            head = "POST /api/v1/event HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50])
            assert running.ask("GET", "/healthz").status_code == 200
            running.process.send_signal(signal.SIGTERM)
            at = "127.0.0.1", running.port
            processes.wait_until(lambda: fails(lambda: socket.create_connection(at).close()))
            client.sendall(body[50:])
            assert b" 201 " in client.recv(200)
        assert running.stop(None) == 0
        assert len(running.events()) == 1


def test_a_database_that_is_busy(tmp_path):
    """Another process holds SQLite's lock: 503, told once, and later all goes on."""
    database = tmp_path / "flwr.db"
    with Serving(database, tmp_path) as running:
        other = sqlite3.connect(database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        body = event()
        answer = running.post(body)
        assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
        other.execute("ROLLBACK")
        other.close()
        assert running.post(body).status_code == 201
        printed = running.printed()
        assert printed.count("could not write") == printed.count("answers again") == 1
        assert body["context"]["source"] not in printed


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ("serve", 1, "--db is needed"),
        ("serve --db mysql://x/y", 1, "a file of sqlite, or a postgresql"),
        ("serve --db /nowhere/flwr.db", 1, "cannot be opened"),
        ("serve --db postgresql://127.0.0.1:1/x", 1, "cannot be opened"),
        ("serve --db postgresql://me:hidden@127.0.0.1:1/x", 1, "me:***@"),
        ("serve --db flwr.db --listen 8080", 2, "an address and a port"),
        ("serve --db flwr.db --listen 203.0.113.1:80", 1, "cannot listen"),
        ("serve --db flwr.db --token-file none", 1, "cannot be read"),
        ("serve --db flwr.db --tls-cert none", 1, "need each other"),
        ("serve --db flwr.db --tls-cert none --tls-key none", 1, "certificate"),
        ("serve --db flwr.db --max-days 0", 2, "from 1 on"),
        ("forget me --db flwr.db", 2, "a UUID"),
        ("report --db flwr.db --since soon", 2, "30d, 4w"),
    ],
)
def test_what_cannot_work_is_said_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, code, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["flwr-telemetry-collector", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert (ended.value.code, told in said) == (code, True), said
    assert said.splitlines()[-1].startswith("flwr-telemetry-collector")


def test_a_socket_of_systemd(tmp_path):
    """``LISTEN_FDS``: systemd opens the port, and hands it over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [*COMMAND, "serve", f"--db={tmp_path}/flwr.db"]
        script = f"""
import os
os.dup2({listener.fileno()}, 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv({command[0]!r}, {command!r})
"""
        started = [sys.executable, "-c", script]
        process = subprocess.Popen(started, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)
        port = listener.getsockname()[1]
    answer = requests.post(f"http://127.0.0.1:{port}/api/v1/event", json=event(), timeout=60)
    assert answer.status_code == 201
    process.terminate()
    assert process.wait(60) == 0


def test_old_bodies_go(tmp_path):
    """After ``--max-days`` they are deleted, with the sources that have no other."""
    database = tmp_path / "flwr.db"
    old, new = event(), event()
    with Serving(database, tmp_path) as running:
        assert [running.post(body).status_code for body in (old, new)] == [201, 201]
        running.stop()
    connection = sqlite3.connect(database, isolation_level=None)
    source = old["context"]["source"]
    connection.execute("UPDATE source SET last_day = 1 WHERE name = ?", [source])
    connection.execute("UPDATE body SET day = 1 WHERE source = (SELECT id FROM source WHERE last_day = 1)")
    with Serving(database, tmp_path, "--max-days", 400) as running:
        processes.wait_until(lambda: running.events() == [new])
        count = "SELECT count(*) FROM source WHERE name = ?"
        processes.wait_until(lambda: connection.execute(count, [source]).fetchone() == (0,))
    connection.close()


def test_a_head_without_end_is_cut_off(tmp_path):
    with Serving(tmp_path / "flwr.db", tmp_path) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            head = b"GET / HTTP/1.1\r\nX: " + b"x" * 60_000
            processes.wait_until(lambda: fails(lambda: client.sendall(head)))
        assert running.ask("GET", "/healthz").status_code == 200
