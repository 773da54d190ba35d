"""Makes the change to Flower that a pull request would make: ``python -m tests.e2e.embed DIRECTORY``.

DIRECTORY is a clone of Flower's repository, or an unpacked archive or wheel of flwr or flwr-datasets:

- The telemetry module keeps ``EventType`` as it is. ``event`` is imported from flwr-telemetry.
- No code waits for the result of ``event`` any more. Imports and constants that only served this wait go.
- The project gets one dependency.
- Flower's own test of the module becomes ``flowers_own.py``, where it is there: archives and wheels lack it.

The change is found by the structure of the code, and none of Flower's text is kept here. If the structure has
changed, nothing is written, and the error names the file and what was expected. ``--stat`` prints the size of
the change for each file, and writes nothing. ``--command`` also adds ``flwr telemetry`` to Flower's command.
"""

import argparse
import ast
import difflib
import re
import sys
from pathlib import Path
from typing import NamedTuple

from tests.e2e.edits import (
    WIDTH,
    Source,
    StructureError,
    dotted_name,
    imports,
    narrowed,
    only_target,
    without_unused_imports,
)

DEPENDENCY = "flwr-telemetry>=0.1.0,<1.0.0"
OWN_TESTS = Path(__file__).with_name("flowers_own.py")
COMMAND = "from flwr_telemetryd.cli.app import app as telemetry_app"
GROUP = ("# Add telemetry command group", 'app.add_typer(telemetry_app, name="telemetry")')


class Target(NamedTuple):
    """One of Flower's packages that reports events."""

    package: str
    modules: tuple[str, ...]
    """Where its telemetry module may be, below the package."""
    ours: str
    """The module that it imports ``event`` from."""


TARGETS = (
    Target("flwr", ("supercore/telemetry.py", "common/telemetry.py"), "flwr_telemetry"),
    Target("flwr_datasets", ("common/telemetry.py",), "flwr_telemetry.datasets"),
)
PLACES = ("", "py", "framework/py", "datasets")
"""Where a package may be: in a wheel, an archive, or a clone of the repository."""


def change(root, *, command=False):
    """The texts of the changed files below a directory, by path; nothing is written."""
    changed = {}
    for target in TARGETS:
        for package in [root / place / target.package for place in PLACES]:
            for path in [package / module for module in target.modules if (package / module).is_file()][:1]:
                changed |= _change_package(target, package, path)
                if command and target.package == "flwr":
                    changed |= _with_command(package / "cli" / "app.py")
    if not changed:
        names = " or ".join(f"{target.package}/{target.modules[0]}" for target in TARGETS)
        raise StructureError(root, f"{names} below it")
    return changed


def _change_package(target, package, telemetry):
    dotted = dotted_name(package, telemetry)
    changed = {telemetry: _telemetry(target, Source(telemetry))}
    removed = set()
    for path in sorted(package.rglob("*.py")):
        if path in {telemetry, telemetry.with_name("telemetry_test.py")}:
            continue
        if not re.search(r"\bevent\b|telemetry", path.read_text(encoding="utf-8")):
            continue  # parsing every file takes seconds
        source = Source(path)
        for module, name, alias in imports(source, package):
            if module == dotted and name not in {"EventType", "event"}:
                raise StructureError(path, f"EventType and event alone from {dotted}, not {name}")
            # Another module may pass it on.
            if module.split(".")[0] == target.package and name == "event" and _without_waits(source, alias):
                edited, unused = without_unused_imports(source.edited(), path)
                changed[path] = edited
                removed |= unused
    for name in removed:
        changed |= _without_constant(package, changed, name)
    own = telemetry.with_name("telemetry_test.py")
    if own.exists():
        header = Source(own)
        licence = header.lines[: header.tree.body[0].lineno - 1]
        changed[own] = "\n".join([*licence, _tests(target, dotted)])
    return {**changed, **_with_dependency(package)}


def _tests(target, dotted):
    """The tests for a telemetry module; that of flwr-datasets knows no partner."""
    source = Source(OWN_TESTS)
    if target.package != "flwr":
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef) and node.name == "test_partner_id":
                source.replace(node)
    text, _ = without_unused_imports(source.edited(), OWN_TESTS)
    return text.replace("flwr.supercore.telemetry", dotted)


# The telemetry module


def _telemetry(target, source):
    """The module with ``EventType`` as it is, and ``event`` of flwr-telemetry."""
    body = source.tree.body
    kinds = [node for node in body if isinstance(node, ast.ClassDef) and node.name == "EventType"]
    if [ast.unparse(base) for node in kinds for base in node.bases] != ["str", "Enum"]:
        raise StructureError(source.path, "one class EventType(str, Enum)")
    events = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "event"]
    if [arg.arg for node in events for arg in node.args.args] != ["event_type", "event_details"]:
        raise StructureError(source.path, "one function event(event_type, event_details)")
    if ast.get_docstring(source.tree) is None:
        raise StructureError(source.path, "a docstring")
    (kind,) = kinds
    all_imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    used = {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)}
    kept = [line for node in all_imports if (line := narrowed(node, used))]
    own = {name for node in body for name in _names_defined(node)} - {"EventType"}
    if used & own:
        raise StructureError(source.path, f"EventType without a use of {', '.join(sorted(used & own))}")
    head = source.lines[: all_imports[0].lineno - 1]
    last = kind.decorator_list[0].lineno if kind.decorator_list else kind.lineno
    enum = source.lines[source.comment_above(last - 1) : kind.end_lineno]
    ours = f"from {target.ours} import event as event  # pylint: disable=unused-import"
    return "\n".join([*head, *kept, "", ours, "", "", *enum, ""])


def _names_defined(node):
    """The names that a statement at the top of a module defines, but for imports."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return {name.id for name in targets if isinstance(name, ast.Name)}


# The places that wait


def _without_waits(source, event):
    """Take the waits for futures of ``event`` out; whether there were any.

    Three forms are known. A future is waited for in a ``try`` of its own, below an ``if`` that asks whether
    there is one. Or a ``try`` holds ``event`` and the wait alone, and passes over every exception. Or the
    result is waited for where ``event`` is called, in one expression.
    """
    calls = [node for node in ast.walk(source.tree) if _is_call(node, event)]
    futures = [source.parents[call] for call in calls if not isinstance(source.parents[call], ast.Expr)]
    for given in futures:
        statement = source.parents.get(source.parents[given])
        if isinstance(given, ast.Attribute) and isinstance(statement, ast.Expr):
            source.replace(statement, _call_alone(source, given, statement.col_offset))
            continue
        name = only_target(given)
        if name is None:
            raise StructureError(f"{source.path}, line {given.lineno}", "the result of event() in a variable")
        scope = given
        while not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
            scope = source.parents[scope]
        _without_future(source, scope, given, name)
    return bool(futures)


def _without_future(source, scope, given, name):
    waits = [node for node in ast.walk(scope) if isinstance(node, ast.Expr) and _is_wait(node.value, name)]
    seen = set()
    for wait in waits:
        guard = source.parents[wait]
        if not isinstance(guard, ast.Try) or not _passes_all(guard):
            raise StructureError(
                f"{source.path}, line {wait.lineno}", "the wait in a try that passes all over"
            )
        seen.add(wait.value.func.value)
        if guard.body == [given, wait]:
            source.replace(guard, _call_alone(source, given, guard.col_offset))
            continue
        outer = source.parents[guard]
        if guard.body != [wait] or not _asks_for(outer, name) or outer.body != [guard]:
            raise StructureError(
                f"{source.path}, line {wait.lineno}", "the wait alone, below an if of its own"
            )
        seen.add(outer.test)
        source.replace(outer)
        source.replace(given, _call_alone(source, given, given.col_offset))
    names = [node for node in ast.walk(scope) if isinstance(node, ast.Name) and node.id == name]
    for node in names:
        if isinstance(node.ctx, ast.Load) and node not in seen:
            raise StructureError(f"{source.path}, line {node.lineno}", f"no other use of {name}")
        if isinstance(node.ctx, ast.Store) and source.parents[node] is not given:
            source.replace(source.parents[node])  # its first value
    if not waits:
        raise StructureError(f"{source.path}, line {given.lineno}", f"a wait for {name}")


def _is_call(node, name):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _is_wait(node, name):
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"result", "exception"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == name
    )


def _passes_all(guard):
    (handler, *more) = guard.handlers
    passes = len(handler.body) == 1 and isinstance(handler.body[0], ast.Pass)
    is_all = isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}
    return passes and is_all and not more and not guard.orelse and not guard.finalbody


def _asks_for(node, name):
    return isinstance(node, ast.If) and ast.unparse(node.test) == name and not node.orelse


def _call_alone(source, given, column):
    """The lines of a call, without the variable that took its result, and indented by ``column``."""
    value = given.value
    lines = source.lines[value.lineno - 1 : value.end_lineno]
    lines[-1] = lines[-1].encode()[: value.end_col_offset].decode()
    lines[0] = " " * given.col_offset + lines[0].encode()[value.col_offset :].decode()
    lines = [" " * column + line[given.col_offset :] for line in lines]
    joined = lines[0] + "".join(line.strip() for line in lines[1:])
    has_trailing_comma = len(lines) > 1 and lines[-2].endswith(",")
    return [joined] if len(lines) <= 3 and not has_trailing_comma and len(joined) <= WIDTH else lines


def _without_constant(package, changed, name):
    """The file that defines a constant which nothing in the package uses any more, without it."""
    paths = [*package.rglob("*.py")]
    found = [path for path in paths if name in (changed.get(path) or path.read_text(encoding="utf-8"))]
    if len(found) != 1:
        return {}
    source = Source(found[0])
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and only_target(node) == name:
            source.replace(node)
            return {found[0]: source.edited()}
    return {}


# The project


def _with_dependency(package):
    """The project's file, or the metadata of a wheel, with one more dependency."""
    for directory in package.parents[:2]:
        for project in directory.glob("pyproject.toml"):
            pattern = r"^dependencies = \[\n(?:.*\n)*?(?=\])"
            return {project: _with_line(project, pattern, f'    "{DEPENDENCY}",')}
        for metadata in directory.glob(f"{package.name}-*.dist-info/METADATA"):
            pattern = r"^Requires-Dist: [^;\n]*\n(?!Requires-Dist: [^;\n]*\n)"
            return {metadata: _with_line(metadata, pattern, f"Requires-Dist: {DEPENDENCY}")}
    raise StructureError(package.parent, "pyproject.toml, or the metadata of a wheel, beside the package")


def _with_line(path, pattern, line):
    text = path.read_text(encoding="utf-8")
    if "flwr-telemetry" in text:
        raise StructureError(path, "no dependency on flwr-telemetry yet")
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise StructureError(path, "a list of dependencies, each on a line of its own")
    return f"{text[: found.end()]}{line}\n{text[found.end() :]}"


def _with_command(path):
    """The program ``flwr`` with the commands of ``flwr-telemetry`` behind its other groups of commands."""
    source = Source(path)
    groups = [node for node in source.tree.body if ast.unparse(node).startswith("app.add_typer(")]
    typers = [node for node in source.tree.body if ast.unparse(node) == "import typer"]
    if not groups or not typers:
        raise StructureError(path, "an import of typer, and app.add_typer(…) for other groups of commands")
    source.replace(typers[0], ["import typer", COMMAND])
    last = groups[-1]
    source.replace(last, [*source.lines[last.lineno - 1 : last.end_lineno], "", *GROUP])
    return {path: source.edited()}


# The command


def write(changed):
    """Write what ``change`` gave."""
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")


def sizes(changed):
    """The added and removed lines of each file."""
    found = {}
    for path, text in changed.items():
        old, new = path.read_text(encoding="utf-8").splitlines(), text.splitlines()
        lines = list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:]
        found[path] = tuple(sum(line.startswith(sign) for line in lines) for sign in "+-")
    return found


def table(root, changed):
    """The sizes as a table in Markdown."""
    rows = sizes(changed)
    total = [sum(size[column] for size in rows.values()) for column in (0, 1)]
    lines = [f"| `{_shown(path, root)}` | {added} | {gone} |" for path, (added, gone) in sorted(rows.items())]
    head = ["| file | lines added | removed |", "| --- | --- | --- |"]
    return "\n".join([*head, *lines, f"| all | {total[0]} | {total[1]} |"])


def _shown(path, root):
    parts = path.relative_to(root).parts
    first = next((i for i, part in enumerate(parts) if part in {"flwr", "flwr_datasets"}), len(parts) - 1)
    return "/".join(parts[first:]).replace("METADATA", "pyproject.toml")  # of which it is made


def comments(changed):
    """The comments in changed files that still speak of a wait; a person has to reword them."""
    for path, text in changed.items():
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r"^\s*#.*telemetry (wait|call|event to be sent)", line):
                yield f"{path}, line {number}: {line.strip()}"


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.embed")
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="with an unpacked Flower")
    parser.add_argument("--stat", action="store_true", help="print the size of the change; write nothing")
    parser.add_argument("--command", action="store_true", help="also add `flwr telemetry`")
    options = parser.parse_args()
    try:
        changed = change(options.directory, command=options.command)
    except StructureError as error:
        sys.exit(f"embed: {error}")
    print(table(options.directory, changed))
    for comment in comments(changed):
        print(f"To be reworded: {comment}")
    if not options.stat:
        write(changed)


if __name__ == "__main__":
    main()
