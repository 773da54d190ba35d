"""``flwr-telemetry source`` and ``forget``: the ID under which this home reports, and its deletion."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import contextlib
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Option

from flwr_telemetry import source as source_file

from ..errors import ExitCode, UnusableHomeError
from . import output
from .output import HomeOption, JsonOption, OptionalText

if TYPE_CHECKING:
    from flwr_telemetry.layout import Home

    from ..admin.deletion import Deletion
    from ..admin.forget import ErasedCounts
    from ..inspect.deletion_request import DeletionRequest


def source(*, json: JsonOption = False, home: HomeOption = None) -> None:
    r"""Show the source ID: the random name under which this home reports.

    It is the text in the file `source` of the home, and says nothing about you. You may delete that file
    at any time: the next event starts a new ID.

    \b
    Examples:
      flwr-telemetry source
      flwr-telemetry source --json
    """
    from ..inspect.problems import SOURCE_FAULTS
    from ..outbox import forgotten

    found = output.find_home(home)
    source_id = source_file.read(found.source)
    since = None
    with contextlib.suppress(OSError, ValueError, OverflowError):
        since = datetime.fromtimestamp(found.source.stat().st_mtime, UTC).isoformat(timespec="seconds")
    is_forgotten = source_id is not None and forgotten.notes(found, source_id)
    if source_id is None:
        told = f"There is no source ID yet; the first event makes one, in {found.source}."
    elif source_id in SOURCE_FAULTS:
        told = f"{found.source} {SOURCE_FAULTS[source_id]}; events say `{source_id}` instead."
    else:
        told = f"{source_id}\nIn {found.source}{f', made {output.ago(since)}' if since else ''}."
        if is_forgotten:
            told += "\nIt was forgotten, so its events are deleted. Remove the file to get a new one."
    known = {"source": source_id, "path": str(found.source), "since": since, "forgotten": is_forgotten}
    output.answer(known, lambda: output.say(told), as_json=json)


def forget(
    *,
    source_id: Annotated[OptionalText, Argument(metavar="ID", help="A former ID; else this home's.")] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    send: Annotated[
        bool, Option("--send", help="Also have the collector delete what it received, if it offers that.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> int:
    r"""Forget the source ID, and delete everything on this machine that carries it.

    Waiting events are deleted unsent, and so are the copies of sent and refused events. The ID cannot
    come back: its hash is kept, and events that a process still reports under it are deleted. Then the
    command shows a deletion request for the events that were received. You can send it to the Flower team,
    or to the `deletion_contact` in the settings if your organisation has a collector of its own. With --send
    the command asks the collector itself, if that deletes by request, and waits until that is done.
    Telemetry itself stays on or off: the next event starts a new ID; see `flwr-telemetry disable`.

    Name an ID to forget one that this home had before, and whose file is gone.

    \b
    Exit codes:
      0  the ID is forgotten, or there was none
      1  you answered no, or the collector deletes by request and could not do it now
      2  wrong usage; without a terminal for the question, --yes is needed
      5  the home cannot be used, or something could not be deleted

    \b
    Examples:
      flwr-telemetry forget
      flwr-telemetry forget --send
      flwr-telemetry forget --yes --json
      flwr-telemetry forget 6f1f7c1e-6a58-4a5e-9d3f-0d3c5b8f2a11
    """
    from flwr_telemetry import settings

    from ..admin import switch
    from ..admin.deletion import request_deletion
    from ..admin.forget import ErasedCounts, finish, forget_id
    from ..clock import Clock
    from ..delivery import is_file
    from ..inspect.deletion_request import deletion_request, is_flowers

    found = output.find_home(home)
    chosen = _present(found) if source_id is None else _named(found, source_id)
    if chosen is None:
        empty = {"source": None, "deleted": ErasedCounts().public(), "request": None}
        nothing = f"There is no source ID in {found.path}, so there is nothing to forget."
        output.answer(empty, lambda: output.say(nothing), as_json=json)
        return ExitCode.OK
    switch.check_owner(found)
    question = f"Forget {chosen}, and delete everything on this machine that carries it?"
    if not output.confirms(question, yes=yes):
        return ExitCode.UNDELIVERED
    try:
        with output.working("Deleting"):
            erased, problems = forget_id(found, chosen, Clock())
    except KeyboardInterrupt:
        output.complain(f"interrupted; run `flwr-telemetry forget` again to go on with {chosen}")
        raise
    now = settings.load(found, None)
    request = deletion_request(chosen, now)
    result = {"source": chosen, "deleted": erased.public(), "request": asdict(request)}
    sent = None
    if send:
        with output.working("Asking the collector"):
            sent = request_deletion(chosen, now, os.environ)
        result["sent"] = asdict(sent)

    def tell() -> None:
        _tell(chosen, erased, complete=not problems)
        if sent is not None:
            _tell_sent(sent)
        if sent is None or not sent.done:
            _tell_request(request)
            if not (is_file(now.url) or is_flowers(now.url) or now.deletion_contact):
                output.say(f"\nEvents go to {now.url}, which is not Flower's: ask its operator, too.")

    output.answer(result, tell, as_json=json)
    output.complain(*problems)
    if problems:
        output.complain(f"not all is deleted; solve that, and run `flwr-telemetry forget {chosen}` again")
        return ExitCode.UNUSABLE
    sys.stdout.flush()  # the ID is noted as done only after the user was told
    if sent is not None and sent.supported and not sent.done:
        again = f"run `flwr-telemetry forget --send {chosen}` again later"
        output.complain(f"{sent.host} has not deleted its events: {sent.reason}; {again}")
        return ExitCode.UNDELIVERED
    finish(found)
    return ExitCode.OK


def _present(home: "Home") -> str | None:
    """The ID to forget: that of an interrupted call, or else the present one."""
    from ..admin.forget import unfinished
    from ..inspect.problems import SOURCE_FAULTS

    if (begun := unfinished(home)) is not None:
        return begun
    found = source_file.read(home.source)
    if found in SOURCE_FAULTS:
        advice = "remove it, and the next event makes a new one"
        raise UnusableHomeError(f"{home.source} {SOURCE_FAULTS[found]}; {advice}")
    return found


def _named(home: "Home", typed: str) -> str:
    """The ID that the user typed, in the spelling in which events carry it."""
    import uuid

    try:
        meant = uuid.UUID(typed)
    except ValueError:
        raise BadParameter("a source ID is a UUID", param_hint="ID") from None
    present = source_file.read(home.source)
    with contextlib.suppress(ValueError):
        if present is not None and uuid.UUID(present) == meant:
            return present
    return str(meant)


def _tell(source_id: str, erased: "ErasedCounts", *, complete: bool) -> None:
    output.say(f"Forgotten: {source_id}", "bold")
    stages = {"spool": "in the spool", "outbox": "in the outbox", "sent": "sent", "rejected": "rejected"}
    counts = asdict(erased)
    deleted = ", ".join(f"{counts[name]} {stage}" for name, stage in stages.items() if counts[name])
    if deleted:
        total = output.number(sum(counts[name] for name in stages), "event")
        output.say(f"Deleted on this machine: {total} ({deleted}).")
    elif complete:
        output.say("No event on this machine carried it.")
    if erased.others:
        others = output.number(erased.others, "waiting event")
        output.say(f"The disk is full, so {others} of other IDs had to be deleted unsent, too.")
    output.say("Telemetry itself is unchanged; `flwr-telemetry disable` switches it off.\n")


def _tell_sent(sent: "Deletion") -> None:
    if sent.done:
        output.say(f"Deleted at {sent.host}: every event that it had received of this ID.", "bold")
    else:
        output.say(f"Nothing was deleted at {sent.host or 'a collector'}: {output.ended(sent.reason)}\n")


def _tell_request(request: "DeletionRequest") -> None:
    is_mail = request.mailto.startswith("mailto:")
    way = "send this mail, or open the link below" if is_mail else "send this text by the page below"
    output.say(f"To have the received events deleted too, {way}:\n", "bold")
    out = output.console()
    for line in (f"To: {request.to}", f"Subject: {request.subject}", "", *request.body.splitlines()):
        out.print(f"  {line}", soft_wrap=True)
    out.print(f"\n{request.mailto}", soft_wrap=True)
