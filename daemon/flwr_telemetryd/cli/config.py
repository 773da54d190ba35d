"""``flwr-telemetry config``: the settings, and which file or variable decides each of them."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import json as json_format
import os
import shlex
import subprocess
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, BadParameter

from flwr_telemetry import system
from flwr_telemetry.errors import SettingsError

from ..errors import ExitCode
from . import output
from .output import HomeOption, JsonOption

if TYPE_CHECKING:
    from flwr_telemetry.layout import Home

    from ..admin.config import Setting

NameArgument = Annotated[str, Argument(metavar="NAME", help="The name of a setting; `config list` has them.")]

app = typer.Typer(cls=output.Group)


def config(context: typer.Context) -> None:
    r"""Show and change the settings of this home; without a command, list them.

    \b
    Examples:
      flwr-telemetry config list
      flwr-telemetry config get url
      flwr-telemetry config set upload false
      flwr-telemetry config edit
    """
    if context.invoked_subcommand is None:
        list_settings()


def list_settings(*, json: JsonOption = False, home: HomeOption = None) -> None:
    r"""List every setting: its value, and which file or variable decides it.

    \b
    Examples:
      flwr-telemetry config list
      flwr-telemetry config list --json
    """
    found = output.find_home(home)
    settings = _explain(found)
    output.answer([asdict(setting) for setting in settings], lambda: _tell(found, settings), as_json=json)


def get(name: NameArgument, *, json: JsonOption = False, home: HomeOption = None) -> None:
    r"""Print the value of one setting that is in force.

    \b
    Examples:
      flwr-telemetry config get url
      flwr-telemetry config get spool_max_mib --json
    """
    from flwr_telemetry import settings_file

    by_name = {setting.name: setting for setting in _explain(output.find_home(home))}
    if name not in by_name:
        raise BadParameter(settings_file.problem(name, None) or "", param_hint="NAME")
    output.answer(asdict(by_name[name]), lambda: output.say(_shown(by_name[name].value)), as_json=json)


def set_setting(
    name: NameArgument,
    value: Annotated[str, Argument(metavar="VALUE", help="Its new value: true or false, a number, or text.")],
    *,
    json: JsonOption = False,
    home: HomeOption = None,
) -> int:
    r"""Write a setting into the user's file; every other line of it stays.

    To switch telemetry off, use `flwr-telemetry disable`: it also deletes what was not sent.

    \b
    Exit codes:
      0  the value is in force
      2  there is no such setting, or it cannot have this value
      3  the value is written, and another file or a variable decides; the answer says which
      5  the file cannot be written

    \b
    Examples:
      flwr-telemetry config set upload false
      flwr-telemetry config set spool_max_mib 128
      flwr-telemetry config set url https://telemetry.example.org/v1
    """
    from flwr_telemetry import settings_file

    from ..admin import config as settings
    from ..admin import config_file, switch

    found = output.find_home(home)
    try:
        chosen = settings.value_of(found, name, value)
    except SettingsError as error:
        raise BadParameter(
            str(error), param_hint="VALUE" if name in settings_file.NAMES else "NAME"
        ) from error
    switch.check_owner(found)
    config_file.write(found, name, value=chosen)
    now = next(setting for setting in _explain(found) if setting.name == name)
    in_force = now.value == chosen
    output.answer(
        asdict(now), lambda: output.say(f"{name} = {_shown(now.value)}, by {now.decided_by}"), as_json=json
    )
    if not in_force:
        output.complain(f"{found.config} says {name} = {_shown(chosen)}, but this decides: {now.decided_by}")
    return ExitCode.OK if in_force else ExitCode.DISABLED


def edit(*, home: HomeOption = None) -> int:
    r"""Open the user's file in your editor (VISUAL, else EDITOR, else vi), and check it afterwards.

    \b
    Examples:
      flwr-telemetry config edit
      EDITOR=nano flwr-telemetry config edit
    """
    from flwr_telemetry import files, settings_file

    found = output.find_home(home)
    files.make_home(found.path)
    files.ensure_directory(found.telemetry)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ("notepad" if system.WINDOWS else "vi")
    try:
        # Windows splits a line by rules of its own, because paths are full of backslashes.
        windows = f'{editor} "{found.config}"'
        words = windows if system.WINDOWS else [*shlex.split(editor), str(found.config)]
        subprocess.run(words, check=False)  # noqa: S603 - the user's editor
    except (OSError, ValueError) as error:
        raise BadParameter(
            f"the editor {editor!r} cannot be started: {error}", param_hint="EDITOR"
        ) from error
    settings_file.parse(found.config, settings_file.content(found.config))
    output.say(f"{found.config} is valid.")
    return ExitCode.OK


def path(*, json: JsonOption = False, home: HomeOption = None) -> None:
    r"""Print the name of the user's file; it need not exist.

    \b
    Examples:
      flwr-telemetry config path
      less "$(flwr-telemetry config path)"
    """
    found = str(output.find_home(home).config)
    output.answer({"path": found}, lambda: output.say(found), as_json=json)


def _explain(home: "Home") -> "list[Setting]":
    from ..admin.config import explain

    return explain(home, os.environ)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else json_format.dumps(value)


def _tell(home: "Home", settings: "list[Setting]") -> None:
    from rich.text import Text

    width = max(len(setting.name) for setting in settings) + 2
    rows = []
    for setting in settings:
        by = "" if setting.decided_by == "default" else f"  by {setting.decided_by}"
        rows.append((Text(setting.name, "dim"), Text(output.plain(f"{_shown(setting.value)}{by}"))))
    output.pairs(rows, width)
    output.say(f"\nYour file: {home.config}")


output.register_group(app, config, invoke_without_command=True)
output.register(app.command, list_settings, name="list")
output.register(app.command, get)
output.register(app.command, set_setting, name="set")
output.register(app.command, edit)
output.register(app.command, path)
