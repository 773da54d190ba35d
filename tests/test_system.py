"""One module for the platform: no other asks which system this is, or imports what only one system has."""

import ast

from tests.test_arrows import modules

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


def test_such_a_module_is_found():
    tree = ast.parse("import fcntl, os\nfrom pwd import getpwuid\nif os.name == sys.platform: pass\n")
    assert sorted(asks(tree)) == ["fcntl", "os.name", "pwd", "sys.platform"]
