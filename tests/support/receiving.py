"""The product's own collector as a real process, on SQLite or on a real PostgreSQL."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.processes import PATIENCE_S, wait_until

COMMAND = [sys.executable, "-m", "flwr_telemetry_collector"]
_READY = re.compile(r"listening on (\S+)")


def ran(*arguments, **options):
    """Run `flwr-telemetry-collector` to its end, which must be good."""
    words = [*COMMAND, *map(str, arguments)]
    options = {"timeout": PATIENCE_S, **options}
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


class Serving:
    """`serve`, while its `with` block lasts.

    Args:
        database: the address of the database.
        directory: where what it prints is kept.
    """

    def __init__(self, database, directory, *arguments, **options):
        self.database, self._options = str(database), options
        self._printed = Path(directory) / "serve.log"
        self._arguments = [f"--db={database}", *map(str, arguments)]
        self.port = 0
        self.start()

    def start(self):
        """Start it, on the port that it had before."""
        with self._printed.open("ab") as printed:
            begin = printed.tell()
            self.process = subprocess.Popen(
                [*COMMAND, "serve", *self._arguments, f"--listen=127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                **self._options,
            )

        def ready():
            assert self.process.poll() is None, self.printed()
            return _READY.search(self.printed()[begin:])

        self.origin = wait_until(ready)[1]
        self.port = int(self.origin.rpartition(":")[2])
        self.url = f"{self.origin}/api/v1/event"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL if self.process.poll() is None else None)

    def stop(self, number=signal.SIGTERM):
        """Send a signal, and wait for the end; the exit code."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def printed(self):
        return self._printed.read_text()

    def post(self, body, key=None, **headers):
        """Send a body, as bytes or to be encoded."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        own = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        return requests.post(self.url, data=data, headers=own | headers, timeout=PATIENCE_S)

    def ask(self, method, path, **options):
        return requests.request(method, self.origin + path, timeout=PATIENCE_S, **options)

    def events(self):
        """Every event that it gives back, as `export` does."""
        from flwr_telemetry_collector.database import Database
        from flwr_telemetry_collector.store import export

        opened = Database(self.database)
        with opened.reading() as connection:
            found = [json.loads(line) for line in export(connection)]
        opened.close()
        return found


def _binary(name):
    for directory in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (directory / name).exists():
            return str(directory / name)
    return shutil.which(name)


def has_postgres():
    """Whether a PostgreSQL is installed."""
    return all(map(_binary, ("initdb", "postgres")))


class Postgres:
    """A cluster of PostgreSQL of its own, on a Unix socket, while its `with` block lasts."""

    def __init__(self, **settings):
        if not has_postgres():
            pytest.skip("no PostgreSQL is installed")
        self.directory = Path(tempfile.mkdtemp(prefix="pg-"))
        self._as_user = {}
        if os.getuid() == 0:  # it refuses to run as root
            user = next(
                (one for one in pwd.getpwall() if one.pw_name in {"postgres", "nobody"} and one.pw_uid), None
            )
            if user is None:
                pytest.skip("PostgreSQL does not run as root, and there is no other user")
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.directory, user.pw_uid, user.pw_gid)
        self._data = self.directory / "data"
        self._settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "log_min_messages": "warning",
            "max_connections": "60",
            **settings,
        }
        self._made = 0
        self._run("initdb", "-D", self._data, "-U", "flwr", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    def _run(self, name, *words):
        done = subprocess.run(
            [_binary(name), *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **self._as_user,
        )
        assert done.returncode == 0, done.stderr

    def start(self):
        """Start the server, and wait until it answers."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        self._log = (self.directory / "log").open("ab")
        self.process = subprocess.Popen(
            [_binary("postgres"), "-D", str(self._data), *settings],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            env={"PATH": os.environ["PATH"]},  # it belongs to no home, at whose end all processes go
            start_new_session=True,
            **self._as_user,
        )
        wait_until(self._answers, what="PostgreSQL")

    def _answers(self):
        assert self.process.poll() is None, self.printed()
        try:
            self.sql("SELECT 1")
        except RuntimeError:
            return False
        return True

    def printed(self):
        return (self.directory / "log").read_text(errors="replace")

    def sql(self, statement, database="postgres"):
        """Execute a statement in its own transaction; its rows."""
        import psycopg

        try:
            with psycopg.connect(
                host=str(self.directory), user="flwr", dbname=database, autocommit=True
            ) as connection:
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError as error:
            raise RuntimeError(str(error)) from error

    def new_database(self):
        """Make a database; its URL."""
        self._made += 1
        name = f"made_{self._made}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://flwr@/{name}?host={self.directory}"

    def kill(self):
        """Kill the server as a loss of power would; its files stay."""
        self.process.kill()
        self.process.wait()
        # Its children see that it is gone. The next one does not start before they are.
        wait_until(self._is_free, what="the end of PostgreSQL")
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        self._log.close()

    def _is_free(self):
        return not [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(self._data)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.close()
        wait_until(
            lambda: (shutil.rmtree(self.directory, ignore_errors=True), not self.directory.exists())[1]
        )
