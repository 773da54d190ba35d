"""Imports go one way: none goes up, none reaches past the face of a package, none closes a circle.

No module but those of a platform asks which system this is, or imports what only one system has.
"""

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EMITTER, DAEMON, COLLECTOR = "flwr_telemetry", "flwr_telemetryd", "flwr_telemetry_collector"
SOURCES = {EMITTER: ROOT / "emitter", DAEMON: ROOT / "daemon", COLLECTOR: ROOT / "daemon"}
FOR_THE_COLLECTOR = {f"{EMITTER}.record", f"{DAEMON}.burst.codec", f"{DAEMON}.burst"}

_GROUND = {"clock", "errors", "state", "runtime"}
_OUTBOX = {*_GROUND, "spool", "burst", "outbox"}
BELOW = {
    **dict.fromkeys(_GROUND, _GROUND),
    "spool": _GROUND,
    "burst": _GROUND,
    "outbox": _OUTBOX,
    "delivery": _OUTBOX,
    "sidecar": {*_OUTBOX, "delivery"},
    "inspect": {*_OUTBOX, "delivery"},
    "admin": {*_OUTBOX, "delivery", "inspect"},
    "cli": {*_OUTBOX, "delivery", "inspect", "admin"},
    "__main__": {"sidecar"},
    "": set(),
}
"""What each package of the daemon may import besides itself, by the first part of a module's name."""


def modules():
    """Every module's dotted name, with its file."""
    found = {}
    for top, source in SOURCES.items():
        for path in (source / top).rglob("*.py"):
            parts = path.relative_to(source).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: path for name, path in found.items() if not name.endswith("sitecustomize")}


def is_for_types_alone(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def statements(tree):
    """All import statements that run, those inside functions included."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        children = node.orelse if is_for_types_alone(node) else ast.iter_child_nodes(node)
        waiting += children


def imported(name, path, known):
    """The modules of ours that a module imports."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
            continue
        parts = package.split(".")
        above = parts[: len(parts) - node.level + 1] if node.level else []
        base = ".".join([*above, *filter(None, [node.module])])
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            if whole in known or base in known:
                yield whole if whole in known else base


@functools.cache
def graph():
    known = modules()
    return {name: frozenset(imported(name, path, known)) - {name} for name, path in known.items()}


def face(package):
    """The modules that a package names for others."""
    path = SOURCES[DAEMON].joinpath(DAEMON, package, "__init__.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def faults(imports, faces):
    """One sentence for each import that goes up, or past a face."""
    for name, targets in sorted(imports.items()):
        top, _, rest = name.partition(".")
        package = rest.partition(".")[0]
        for target in sorted(targets):
            other, _, path = target.partition(".")
            wanted, _, module = path.partition(".")
            if COLLECTOR in {top, other} and top != other and target not in FOR_THE_COLLECTOR:
                yield f"{name} imports {target}: the collector shares only the codec and the record"
            if top == EMITTER and other == DAEMON:
                yield f"{name} imports {target}: the emitter never imports the daemon"
            if top == other == DAEMON and wanted != package:
                if wanted not in BELOW[package]:
                    yield f"{name} imports {target}: {wanted} is not below {package}"
                elif module and module.partition(".")[0] not in faces[wanted]:
                    yield f"{name} imports {target}: the face of {wanted} does not name it"


def circle(imports):
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return None


PACKAGES = sorted(set(BELOW) - _GROUND - {"", "__main__"})


def test_arrows_go_down():
    assert list(faults(graph(), {package: face(package) for package in PACKAGES})) == []


@pytest.mark.parametrize("package", [EMITTER, DAEMON, COLLECTOR])
def test_there_is_no_circle(package):
    ours = {name for name in modules() if name.partition(".")[0] == package}
    assert circle({name: graph()[name] & ours for name in ours}) is None


def test_an_import_turned_round_is_found():
    wrong = {
        f"{EMITTER}.spool": f"{DAEMON}.state",
        f"{COLLECTOR}.page": f"{DAEMON}.inspect.markup",
        f"{DAEMON}.outbox.batch": f"{DAEMON}.burst.encoder",
        f"{DAEMON}.spool.segments": f"{DAEMON}.outbox.batch",
    }
    imports = {**graph(), **{name: graph()[name] | {target} for name, target in wrong.items()}}
    found = list(faults(imports, {package: face(package) for package in PACKAGES}))
    assert [sentence.partition(":")[0] for sentence in found] == [
        f"{name} imports {target}" for name, target in wrong.items()
    ]
    assert circle(imports) is not None


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_says_what_its_package_is(package):
    """Each face has a docstring of a few lines, and names only modules that are there."""
    directory = SOURCES[DAEMON] / DAEMON / package
    tree = ast.parse((directory / "__init__.py").read_text(encoding="utf-8"))
    lines = ast.get_docstring(tree).splitlines()

    there = {path.stem for path in directory.iterdir()}
    there |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert 5 <= len(lines) <= 15
    assert face(package) <= there


OWN = {
    "flwr_telemetry.system",
    "flwr_telemetry.windows.api",
    "flwr_telemetry.windows.files",
    "flwr_telemetry.windows.processes",
    "flwr_telemetry.windows.users",
    "flwr_telemetry.detached",
    "flwr_telemetry.spool.posix",
    "flwr_telemetry.spool.windows",
    "flwr_telemetry_collector.serve",  # the collector has nothing of the emitter's but the fields
}
"""The modules that belong to a platform."""

ASKED = {"sys.platform", "os.name", "sys.getwindowsversion", "sys.builtin_module_names"}
OF_ONE_SYSTEM = set("fcntl grp msvcrt nt posix pwd resource termios winreg winsound _winapi".split())


def asks(tree):
    """Whatever in a module belongs to one platform."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ASKED:
            yield ast.unparse(node)
        elif isinstance(node, ast.Import):
            yield from OF_ONE_SYSTEM & {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module in OF_ONE_SYSTEM:
            yield node.module


def test_no_other_module_knows_a_platform():
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules().items()}
    found = {name: sorted(asks(tree)) for name, tree in trees.items() if name not in OWN}
    assert {name: asked for name, asked in found.items() if asked} == {}
