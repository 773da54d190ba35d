"""``flwr-telemetry view``: everything on one page for people, in one file."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from flwr_telemetry import files, system

from . import output
from .inspect import since_us
from .output import HomeOption, JsonOption, OptionalText


def view(
    *,
    file: Annotated[
        OptionalText,
        Option("--output", "-o", metavar="FILE", help="Write the page to this file; - is standard output."),
    ] = None,
    no_open: Annotated[bool, Option("--no-open", help="Only print the name of the file.")] = False,
    since: Annotated[
        OptionalText,
        Option(metavar="WHEN", help="Only what happened from then on; as `inspect --since`."),
    ] = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    r"""Show on one page whether telemetry is on, what was collected and sent, and which workloads ran.

    The page is one file that only you can read. It has no script, loads nothing and sends nothing. It is
    opened in your browser if there is a display. This works with telemetry switched off, too.

    \b
    Examples:
      flwr-telemetry view
      flwr-telemetry view --since 2h
      flwr-telemetry view -o report.html
      flwr-telemetry view -o - | ssh laptop 'cat > report.html'
    """
    from ..clock import Clock
    from ..inspect import page

    if file == "-" and json:
        raise BadParameter("with --json, the page needs a file", param_hint="'--output'")
    chosen = None if since is None else (since, since_us(since))
    found = output.find_home(home)
    data = page.render(page.read_page(found, os.environ, Clock(), since=chosen))
    if file == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        written = _new_file(data) if file is None else _write(Path(file), data)
    except OSError as error:
        raise BadParameter(f"{file or error.filename}: {error.strerror}", param_hint="'--output'") from error
    is_opened = file is None and not no_open and _opens(written, os.environ)
    public = {"file": str(written), "opened": is_opened}
    told = "The page was opened in your browser" if is_opened else "The page is written"
    output.answer(public, lambda: output.say(f"{told}: {written}"), as_json=json)


def _new_file(data: bytes) -> Path:
    """Write a new file in this user's directory for such files, or in the temporary directory."""
    place = os.environ.get("XDG_RUNTIME_DIR", "")
    for directory in filter(None, (place if os.path.isabs(place) else "", tempfile.gettempdir())):
        try:
            descriptor, name = tempfile.mkstemp(prefix="flwr-telemetry-", suffix=".html", dir=directory)
        except OSError as error:
            refusal = error
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        return Path(name)
    raise refusal


def _write(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all; only this user can read it. A device or a pipe gets the bytes."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        path.write_bytes(data)
        return path
    path = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=files.PART_SUFFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return path


def _opens(path: Path, environ: Mapping[str, str]) -> bool:
    """Whether a browser was asked to open a file. Without a display none is: it would take the terminal."""
    import webbrowser

    has_desktop = system.MACOS or system.WINDOWS
    if not (has_desktop or environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        return webbrowser.open(path.as_uri())
    except webbrowser.Error:
        return False
