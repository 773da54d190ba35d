"""``flwr-telemetry source`` and ``forget``: the ID under which this home reports, and the end of it."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import contextlib
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..errors import ExitCode, UnusableHomeError
from .output import (
    HomeOption,
    JsonOption,
    ago,
    complain,
    console,
    help_text,
    number,
    print_json,
    say,
    the_home,
)

if TYPE_CHECKING:
    from flwr_telemetry.layout import Home

    from ..admin.forget import ErasedCounts, Request

SOURCE_HELP = help_text("""Show the source ID: the random name under which this home reports.

It is the text in the file `source` of the home, and says nothing about you. You may delete that file
at any time: the next event starts a new ID.

\b
Examples:
  flwr-telemetry source
  flwr-telemetry source --json
""")

FORGET_HELP = help_text("""Forget the source ID, with everything on this machine that carries it.

Events that wait are deleted unsent, and so are the copies of what was sent and refused. The ID can
not come back: its hash is kept, and what a process still reports under it is deleted. Then you see
a deletion request to send, for what the Flower team has received. Telemetry itself stays as it is:
the next event starts a new ID; see `flwr-telemetry disable`.

With an ID it is that one, which this home had before, and whose file is gone.

\b
Exit codes:
  0  the ID is forgotten, or there was none
  1  you did not want it after all
  2  wrong usage; without a terminal to ask at, --yes is needed
  5  the home cannot be used, or something could not be deleted

\b
Examples:
  flwr-telemetry forget
  flwr-telemetry forget --yes --json
  flwr-telemetry forget 6f1f7c1e-6a58-4a5e-9d3f-0d3c5b8f2a11
""")


_AMISS = {"invalid": "holds no UUID", "unavailable": "cannot be read"}


def source(*, json: JsonOption = False, home: HomeOption = None) -> None:
    """Show the ID, where it is kept, and since when."""
    from flwr_telemetry.source import INVALID, UNAVAILABLE

    from ..outbox import forgotten

    found = the_home(home, os.environ)
    source_id = _look(found)
    since = None
    if source_id is not None:
        try:
            since = datetime.fromtimestamp(found.source.stat().st_mtime, UTC).isoformat(timespec="seconds")
        except (OSError, ValueError, OverflowError):
            since = None
    is_forgotten = source_id is not None and forgotten.notes(found, source_id)
    if json:
        known = {"source": source_id, "path": str(found.source), "since": since, "forgotten": is_forgotten}
        print_json(known)
        return
    out = console()
    if source_id is None:
        say(out, f"There is no source ID yet; the first event makes one, in {found.source}.")
        return
    if source_id in {INVALID, UNAVAILABLE}:
        say(out, f"{found.source} {_AMISS[source_id]}; events say `{source_id}` instead.")
        return
    say(out, source_id, "bold")
    say(out, f"In {found.source}{f', since {ago(since)}' if since else ''}.")
    if is_forgotten:
        say(out, "It was forgotten: whatever carries it is deleted. Remove the file to get a new one.")


def forget(
    *,
    source_id: Annotated[
        Optional[str],  # noqa: UP045 - typer 0.9 does not know the newer form
        typer.Argument(
            metavar="ID",
            help="One of before; else the present one.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Forget the ID, tell what was deleted, and show the request."""
    from ..admin import switch
    from ..admin.forget import ErasedCounts, done, erase, request_for
    from ..clock import Clock

    found = the_home(home, os.environ)
    chosen = _present(found) if source_id is None else _named(found, source_id)
    if chosen is None:
        if json:
            print_json({"source": None, "deleted": asdict(ErasedCounts()), "request": None})
        else:
            say(console(), f"There is no source ID in {found.path}, so there is nothing to forget.")
        return
    switch.check_owner(found)
    if not yes:
        _ask(chosen)
    os.umask(0o077)
    try:
        erased, problems = erase(found, chosen, Clock())
    except KeyboardInterrupt:
        complain(f"interrupted; `flwr-telemetry forget` goes on with {chosen}")
        raise
    request = request_for(chosen)
    if json:
        print_json({"source": chosen, "deleted": asdict(erased), "request": asdict(request)})
    else:
        _tell(chosen, erased, request, complete=not problems)
    for problem in problems:
        complain(problem)
    if problems:
        complain(f"not all is deleted; run `flwr-telemetry forget {chosen}` again when that is mended")
    if problems:
        raise typer.Exit(ExitCode.UNUSABLE)
    sys.stdout.flush()  # only what was told is done
    done(found)


def _look(home: "Home") -> str | None:
    from flwr_telemetry import source as source_file

    return source_file.read(home.source)


def _present(home: "Home") -> str | None:
    """The ID that is to be forgotten: what a call before this one had begun with, or else the present one."""
    from flwr_telemetry.source import INVALID, UNAVAILABLE

    from ..admin.forget import pending

    if (begun := pending(home)) is not None:
        return begun
    found = _look(home)
    if found in {INVALID, UNAVAILABLE}:
        raise UnusableHomeError(
            f"{home.source} {_AMISS[found]}; remove it, and the next event makes a new one"
        )
    return found


def _named(home: "Home", typed: str) -> str:
    """The ID that somebody typed, in the spelling in which events carry it."""
    import uuid

    try:
        meant = uuid.UUID(typed)
    except ValueError:
        raise typer.BadParameter("a source ID is a UUID", param_hint="ID") from None
    present = _look(home)
    with contextlib.suppress(ValueError):
        if present is not None and uuid.UUID(present) == meant:
            return present
    return str(meant)


def _ask(source_id: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise typer.BadParameter("without a terminal to ask at, it is needed", param_hint="'--yes'")
    question = f"Forget {source_id}, and delete all that carries it on this machine?"
    if not typer.confirm(question, err=True):
        complain("nothing was changed")
        raise typer.Exit(ExitCode.UNDELIVERED)


def _tell(source_id: str, erased: "ErasedCounts", request: "Request", *, complete: bool) -> None:
    out = console()
    say(out, f"Forgotten: {source_id}", "bold")
    stages = {"spool": "in the spool", "outbox": "in the outbox", "sent": "sent", "rejected": "rejected"}
    counts = asdict(erased)
    deleted = ", ".join(f"{counts[name]} {word}" for name, word in stages.items() if counts[name])
    if deleted:
        say(out, f"Deleted on this machine: {number(sum(counts.values()), 'event')} ({deleted}).")
    elif complete:
        say(out, "Nothing on this machine carried it.")
    say(out, "Telemetry stays as it was; `flwr-telemetry disable` switches it off.")
    say(out)
    say(out, "To have what was received deleted too, send this mail, or open the link below:", "bold")
    say(out)
    for line in (f"To: {request.to}", f"Subject: {request.subject}", "", *request.body.splitlines()):
        out.print(f"  {line}", soft_wrap=True)
    say(out)
    out.print(request.mailto, soft_wrap=True)
