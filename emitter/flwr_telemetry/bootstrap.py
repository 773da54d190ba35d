"""The first code of a sidecar: loads each package from the file in which the starting process found it.

``spawn.py`` runs this file by its path, in an interpreter without site-packages. So nothing else is loaded:
no ``.pth`` file, no ``sitecustomize``, and no package that the starting process has shut out.

The arguments are the name and the home, which only tell a person what this process is, then those of the
sidecar. The home itself is in ``FLWR_HOME``. The files are in ``PLACES``.

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

PLACES = "FLWR_TELEMETRYD_PLACES"
"""The variable with the file of each package, such as ``requests=/…/requests/__init__.py``."""

SEPARATOR = "\x1e"
"""Stands between two of them; no path holds it."""

ENTRY = "flwr_telemetryd.__main__"
"""The module whose ``main`` is the sidecar."""

IMPORT_ONLY = "--import-only"
"""The argument by which the doctor asks to import everything, and to end."""


class Finder:
    """Finds each package in its file, before any other finder is asked."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        """The spec of a package; None for any other module."""
        if (file := self._places.get(name)) is None:
            return None
        return spec_from_file_location(name, file, submodule_search_locations=[os.path.dirname(file)])


def run(arguments: list[str]) -> int:
    """Run a sidecar with these arguments to its end; its exit code."""
    # It has a session of its own already, unless the C library is old. Windows has none.
    if hasattr(os, "setsid"):
        with contextlib.suppress(OSError):
            os.setsid()
    places = dict(line.split("=", 1) for line in os.environ[PLACES].split(SEPARATOR))
    sys.meta_path.insert(0, Finder(places))
    # Some packages have a second module beside them, or use another package if it is there.
    beside = dict.fromkeys(os.path.dirname(os.path.dirname(file)) for file in places.values())
    sys.path += [place for place in beside if place not in sys.path]
    __import__(ENTRY)
    if arguments == [IMPORT_ONLY]:
        for name in places:
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
