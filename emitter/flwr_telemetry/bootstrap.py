"""The first code of a sidecar: loads each package from the file in which the starting process found it.

``spawn.py`` runs this file by its path, in an interpreter without site-packages. So nothing else is loaded:
no ``.pth`` file, no ``sitecustomize``, and no package that the starting process has excluded.

The first two arguments, the name and the home, are for a person who lists processes. The others are those of
the sidecar. The variable ``FLWR_HOME`` holds the home, and ``PACKAGE_FILES`` names the variable of the files.

This module imports nothing of this package, because nothing of it can be found before ``run``.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys

# The function of `importlib.util`, which would load six modules more.
from _frozen_importlib_external import spec_from_file_location

TYPE_CHECKING = False  # mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.machinery import ModuleSpec

PACKAGE_FILES = "FLWR_TELEMETRYD_PACKAGE_FILES"
"""The variable with the file of each package, such as ``requests=/…/requests/__init__.py``."""

SEPARATOR = "\x1e"
"""Stands between two of them; a path with this control character is not supported."""

ENTRY = "flwr_telemetryd.__main__"
"""The module whose ``main`` is the sidecar."""

IMPORT_ONLY = "--import-only"
"""With this argument, which ``flwr-telemetry doctor`` uses, the process imports everything and ends."""


class Finder:
    """Finds each package in its file, before any other finder is asked."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        """The spec of a package; None for any other module."""
        if (file := self._files.get(name)) is None:
            return None
        return spec_from_file_location(name, file, submodule_search_locations=[os.path.dirname(file)])


def run(arguments: list[str]) -> int:
    """Run a sidecar with these arguments to its end; its exit code."""
    # An old C library has started this process without a session of its own. Windows has no sessions.
    if hasattr(os, "setsid"):
        with contextlib.suppress(OSError):
            os.setsid()
    files = dict(line.split("=", 1) for line in os.environ[PACKAGE_FILES].split(SEPARATOR))
    sys.meta_path.insert(0, Finder(files))
    # Some packages have a second module beside them, or use another package if it is there.
    beside = dict.fromkeys(os.path.dirname(os.path.dirname(file)) for file in files.values())
    sys.path += [place for place in beside if place not in sys.path]
    __import__(ENTRY)
    if arguments == [IMPORT_ONLY]:
        for name in files:
            __import__(name)
        return 0
    return int(sys.modules[ENTRY].main(arguments))


def end(code: int) -> None:
    """End this process, and leave its memory to the system, because Python would take 5 ms for it."""
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other name for it
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # none, a full disk, or closed
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    end(run(sys.argv[3:]))
