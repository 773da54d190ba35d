"""``flwr-telemetry run -- COMMAND…``: an unmodified Flower reports through the spool.

The command replaces this process, so it keeps its own signals, terminal and exit code. The directory of our
``sitecustomize`` is put in front of PYTHONPATH, so every Python process of the command adopts Flower at its
start; see ``flwr_telemetry.flower``.

Only that directory goes on the path. Our site-packages never go on PYTHONPATH, where they would come before
the standard library. They may be for another version of Python, and hold modules that are not the workload's
own. An interpreter without flwr-telemetry, and one that ignores PYTHONPATH (``-I``, ``-E``, ``-S``), does not
adopt Flower. So if telemetry is off, the command gets ``FLWR_TELEMETRY_ENABLED=0``, which every Flower obeys.
If it is on, and the command starts such an interpreter, ``run`` says that Flower reports by itself there.

Nothing that ``run`` has to say keeps a command from starting.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import flwr_telemetry
from flwr_telemetry import flower, system
from flwr_telemetry.switch import SWITCH, plain_flower_reports, says_yes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flwr_telemetry.layout import Home

EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
_SWITCHES = (SWITCH, "FLWR_TELEMETRY_UPLOAD", "DO_NOT_TRACK", "FLWR_HOME", "HOME")
"""The variables by which an adopted Flower decides whether it reports, and in which home."""

SITE_DIRECTORY = Path(flwr_telemetry.__file__).resolve().with_name("flower") / "site"


def prepare_streams() -> None:
    """Let every command print: into nothing if a stream is closed, and "?" for what the terminal lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the parent process has closed it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the exit
        elif stream.encoding.lower() != "utf-8" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def command_of(arguments: Sequence[str]) -> list[str] | None:
    """The command in ``run [--] COMMAND…``; None for anything else, help and wrong usage included."""
    if not arguments or arguments[0] != "run":
        return None
    words = list(arguments[1:])
    if words[:1] == ["--"] and words[1:] and words[1]:
        return words[1:]
    return words if words and words[0] and not words[0].startswith("-") else None


def environment_for(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which every Python process adopts Flower.

    Args:
        environ: the environment to start from; it is not changed.

    Returns:
        A copy with our directory in front of PYTHONPATH, only once even if ``run`` runs under ``run``. All
        other entries keep their order; an empty entry, which means the working directory, is kept too.
    """
    ours = str(SITE_DIRECTORY)
    python_path = environ.get("PYTHONPATH", "")
    # An empty PYTHONPATH has no entry, but an empty entry in a longer one means the working directory.
    others = [entry for entry in python_path.split(os.pathsep) if entry != ours] if python_path else []
    return {**environ, "PYTHONPATH": os.pathsep.join([ours, *others])}


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"flwr-telemetry run: {text}\n")


def run_command(command: Sequence[str], environ: Mapping[str, str], say: Callable[[str], None] = _say) -> int:
    """Execute a command in place of this process, with Flower adopted, or switched off.

    Args:
        command: the program, looked up on the PATH of ``environ``, and its arguments; the program has a name.
        environ: the environment to start from.
        say: tells a person one line.

    Returns:
        Only if the program cannot be executed, after one line on standard error. The code is that of a
        shell: 127 if there is no such program, 126 if the system refuses to execute it. On Windows the
        command is a child, and the code is its own.

    Raises:
        ValueError: the command holds a null character.
    """
    chosen = _prepare(command, environ, say)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # the parent process has closed it
            stream.flush()
    ignored = _default_ignored_signals()
    try:
        if system.WINDOWS:
            import subprocess  # which costs a start more time than all the rest

            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, whose end is awaited
            program = shutil.which(command[0], path=chosen.get("PATH")) or command[0]
            return subprocess.call([program, *command[1:]], env=chosen)  # noqa: S603 - the user's own command
        os.execvpe(command[0], list(command), chosen)  # noqa: S606 - the user's own command
    except OSError as error:
        # A program also counts as not found if an entry of PATH is no directory.
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        say(f"{command[0]}: {'command not found' if missing else error.strerror}")
        return EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def _prepare(
    command: Sequence[str], environ: Mapping[str, str], say: Callable[[str], None]
) -> dict[str, str]:
    """The environment of the command, after all that a person should know of it is said."""
    if not flower.is_supported():
        say("this system is not supported yet, so Flower reports by itself")
        tracks = environ.get("DO_NOT_TRACK", "") in {"", "0"} or SWITCH in environ
        return {**environ} if tracks else {**environ, SWITCH: "0"}
    from flwr_telemetry import settings
    from flwr_telemetry.layout import Home

    path = _home(environ)
    is_on = settings.environment_refusal(environ) is None
    if is_on and path is not None:
        if told := _silence(path):
            say(f"{told}, so its settings cannot be read, and telemetry is off for this command")
        is_on = not told and settings.load(Home(path), environ).consent.enabled
    chosen = environment_for(environ)
    if not is_on and says_yes(environ.get(SWITCH, "1")):
        chosen[SWITCH] = "0"
    if shutil.which(command[0], path=chosen.get("PATH", os.defpath)):
        for told in (*_of_interpreter(command, chosen, is_on=is_on), *_of_superlinks(command, chosen)):
            say(told)
        if path is not None and is_on:
            _tell_first_contact(Home(path), environ, say)
    return chosen


def _silence(path: Path) -> str:
    """Half a sentence if the file server of a home does not answer; a training must not wait for it."""
    from flwr_telemetry import mounts

    if not mounts.is_shared(path):
        return ""  # nothing more is imported
    from ..errors import UnusableHomeError
    from ..inspect import file_server

    try:
        file_server.check(path)
    except UnusableHomeError as error:
        return str(error).partition("; ")[0]
    return ""


def _of_interpreter(command: Sequence[str], chosen: Mapping[str, str], *, is_on: bool) -> Iterator[str]:
    """A line if the interpreter of the command does not adopt Flower, or may report although it is off."""
    from ..admin import interpreter

    found = interpreter.find(command, chosen)
    if found is None:
        return
    if not is_on:
        if says_yes(found.environ.get(SWITCH, "1")):
            yield f"telemetry is off, but the command takes {SWITCH}=0 away, so Flower may report by itself"
        return
    if interpreter.adopts(found, chosen) is False:
        ignored = [option for option in found.options if option in {"-I", "-E", "-S"}]
        why = f"its option {ignored[0]} keeps flwr-telemetry out" if ignored else "it lacks flwr-telemetry"
        remedy = "leave the option out" if ignored else "install flwr-telemetry there"
        if plain_flower_reports(found.environ):
            stop = f"or stop it by {system.setting_of(SWITCH, '0')}"
            yield f"Flower reports by itself in {found.program}, because {why}; {remedy}, {stop}"
        else:
            yield f"Flower reports nothing in {found.program}, because {why}; {remedy}"


def _of_superlinks(command: Sequence[str], chosen: Mapping[str, str]) -> Iterator[str]:
    """A line for each SuperLink that the command may use, and that may report otherwise than the command."""
    from ..admin import superlink

    for found in superlink.running():
        # An adopted one obeys the files of its home, and its own variables.
        is_adopted = str(SITE_DIRECTORY) in found.environ.get("PYTHONPATH", "").split(os.pathsep)
        is_alike = is_adopted and all(found.environ.get(name) == chosen.get(name) for name in _SWITCHES)
        # A local SuperLink has a fixed port, so `flwr run` uses it whatever its home is.
        is_used = os.path.basename(command[0]) == "flwr" or _home(found.environ) == _home(chosen)
        # Each has its own words for yes.
        is_on = (
            says_yes(found.environ.get(SWITCH, "1")) if is_adopted else plain_flower_reports(found.environ)
        )
        if is_used and is_on and not is_alike:
            yield (
                f"a SuperLink runs already (flower-superlink, process {found.pid}) and reports as it was "
                f"started, whatever this command says; `kill {found.pid}` ends it, and the next `flwr run` "
                "starts another"
            )


def _home(environ: Mapping[str, str]) -> Path | None:
    from flwr_telemetry.errors import HomeUnavailableError
    from flwr_telemetry.layout import home_directory

    try:
        return home_directory(environ)
    except HomeUnavailableError:
        return None


def _tell_first_contact(home: Home, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Say the line of first contact: the first event may come from a process whose streams lead nowhere."""
    from flwr_telemetry import context, files, log, settings
    from flwr_telemetry.errors import TelemetryError

    if os.path.lexists(home.noticed) or not log.is_seen(sys.stderr):
        return
    try:
        files.make_home(home.path)
        files.ensure_directory(home.telemetry)
        log.mark_as_noticed(home.noticed, context.notice(), is_new=True)
    except (OSError, TelemetryError):
        return  # another process says it, or the first event will tell what is wrong with the home
    say(log.contact_line(settings.load(home, environ).kept_by))


def _default_ignored_signals() -> list[signal.Signals]:
    """Set the signals that Python ignores at its start to their default action, and give those.

    A program inherits ignored signals. `run -- sh -c 'yes | head -1'` would end with an error message.
    """
    names = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    return ignored
