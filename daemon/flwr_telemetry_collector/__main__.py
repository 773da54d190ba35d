"""``flwr-telemetry-collector``: serve, forget, export and report."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from datetime import UTC, date, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CollectorError

if TYPE_CHECKING:
    from .database import Database

NAME = "flwr-telemetry-collector"
ADDRESS_VARIABLE = "FLWR_TELEMETRY_COLLECTOR_DB"
EXIT_FAILED, EXIT_USAGE = 1, 2

_EPOCH = date(1970, 1, 1)
_UNITS = {"d": 1, "w": 7}
_NEEDED = ("sqlalchemy", "starlette", "uvicorn")
_MOST_PORT = 65_535


def main() -> None:
    """Run the command, and end the process with its exit code."""
    options = _parser().parse_args()
    os.umask(0o077)  # the database is for its user alone
    try:
        _check_extra()
        code = options.run(options)
    except CollectorError as error:
        sys.stderr.write(f"{NAME}: {error}\n")
        code = EXIT_FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "sqlalchemy":
            raise
        # Its message may hold a source ID.
        sys.stderr.write(f"{NAME}: the database failed ({type(error).__name__})\n")
        code = EXIT_FAILED
    sys.exit(code)


def _check_extra() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        told = f"{', '.join(missing)} not installed: pip install 'flwr-telemetry[collector]'"
        raise CollectorError(told)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Receive Flower's usage metrics, count each event once, delete on request, and report.",
        epilog="Exit codes: 0 success, 1 failure, 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {metadata.version('flwr-telemetry')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, told: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told, description=f"{told[0].upper()}{told[1:]}.")
        made.add_argument(
            "--db",
            metavar="URL",
            default=os.environ.get(ADDRESS_VARIABLE) or None,
            help="an SQLite file, or postgresql://HOST/NAME; "
            f"{ADDRESS_VARIABLE} names it where no one else should see it",
        )
        return made

    serving = command("serve", "receive bodies over HTTP until SIGTERM")
    serving.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:8080", type=_address)
    serving.add_argument(
        "--max-days", metavar="N", type=_count, default=400, help="keep bodies so long (400)"
    )
    serving.add_argument("--token-file", metavar="F", type=Path, help="GET / needs the token in this file")
    serving.add_argument("--tls-cert", metavar="F", type=Path, help="serve https with this certificate")
    serving.add_argument("--tls-key", metavar="F", type=Path, help="its private key")
    serving.add_argument(
        "--drain", metavar="S", type=_count, default=10, help="after SIGTERM, answer for so many seconds (10)"
    )
    serving.set_defaults(run=_serve)

    forgetting = command("forget", "delete everything of a source ID, and drop what comes late")
    forgetting.add_argument("source", metavar="UUID")
    forgetting.set_defaults(run=_forget)

    exporting = command("export", "print every event, one line of JSON each, in Flower's own form")
    exporting.add_argument("--jsonl", action="store_true", help="the only format, and the default")
    exporting.add_argument("--since", metavar="WHEN", type=_day, default=0, help=_SINCE)
    exporting.set_defaults(run=_export)

    reporting = command("report", "answer the questions of Flower's page on telemetry")
    reporting.add_argument("--since", metavar="WHEN", type=_day, default=0, help=_SINCE)
    reporting.add_argument("--html", metavar="F", type=Path, help="write a page with plots to this file")
    reporting.add_argument("--json", action="store_true", help="print JSON, for programs")
    reporting.set_defaults(run=_report)
    return parser


_SINCE = "only what was received from this day on: 30d, 4w, or a date such as 2026-11-22"


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _MOST_PORT:
        raise argparse.ArgumentTypeError("an address and a port are needed, for example 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError("a whole number from 1 on is needed")
    return int(text)


def _day(text: str) -> int:
    """A day in days since the epoch, in UTC."""
    try:
        if text[-1:] in _UNITS:
            return (datetime.now(UTC).date() - timedelta(int(text[:-1]) * _UNITS[text[-1]]) - _EPOCH).days
        return (date.fromisoformat(text) - _EPOCH).days
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError("30d, 4w or a date such as 2026-11-22 is needed") from error


def _open(options: argparse.Namespace) -> Database:
    from .database import Database

    return Database(_named(options))


def _named(options: argparse.Namespace) -> str:
    if options.db is None:
        raise CollectorError(f"--db is needed, or {ADDRESS_VARIABLE}")
    return str(options.db)


def _serve(options: argparse.Namespace) -> int:
    import logging

    from . import serve

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=f"{NAME}: %(message)s")
    host, port = options.listen

    def on_ready(url: str) -> None:
        sys.stderr.write(f"{NAME}: listening on {url}\n")
        sys.stderr.flush()

    serve.serve(
        serve.Options(
            database=_named(options),
            host=host,
            port=port,
            max_days=options.max_days,
            drain_s=options.drain,
            token_file=options.token_file,
            certificate=options.tls_cert,
            private_key=options.tls_key,
        ),
        on_ready,
    )
    return 0


def _forget(options: argparse.Namespace) -> int:
    import uuid

    from .store import Store
    from .writer import today

    try:
        source = str(uuid.UUID(options.source))
    except ValueError:
        sys.stderr.write(f"{NAME}: a source ID is a UUID\n")
        return EXIT_USAGE
    database = _open(options)
    with database.writing() as connection:
        deleted = Store().forget(connection, source, today())
    sys.stdout.write(f"Deleted: {deleted.events} events in {deleted.bodies} bodies. Late ones are dropped.\n")
    if not database.truncate_log(_TRUNCATION_S):
        told = "another process reads the log of the database, in which deleted rows stand; try again"
        raise CollectorError(told)
    if not database.is_sqlite:
        sys.stdout.write(
            "PostgreSQL overwrites deleted rows later. VACUUM FULL source, profile, body, span does it now.\n"
            "Its write-ahead log, replicas and backups keep them until they are recycled.\n"
        )
    database.close()
    return 0


_TRUNCATION_S = 10.0


def _export(options: argparse.Namespace) -> int:
    from .store import export

    database = _open(options)
    with database.reading() as connection:
        for line in export(connection, options.since):
            sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    database.close()
    return 0


def _report(options: argparse.Namespace) -> int:
    import json

    from . import page, questions

    database = _open(options)
    with database.reading() as connection:
        found = questions.read(connection, options.since)
    database.close()
    if options.html is not None:
        try:
            options.html.write_bytes(page.render(found))
        except OSError as error:
            raise CollectorError(f"{options.html}: {error.strerror}") from error
    if options.json:
        sys.stdout.write(json.dumps(found.public(), indent=2) + "\n")
    elif options.html is None:
        sys.stdout.write(page.as_text(found))
    return 0


if __name__ == "__main__":
    main()
