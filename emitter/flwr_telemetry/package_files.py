"""Finds the files of the packages that a sidecar needs, as this process finds them, and imports none of them.

A process may find them in many ways: by ``sys.path.insert``, ``site.addsitedir``, an editable installation,
or a directory for each package. A sidecar cannot repeat that, so it gets the file of each package; see
``bootstrap.py``.

An archive or a frozen program has no such files, and so no sidecar can be started there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder

from .errors import StartError

DAEMON = "flwr_telemetryd"

_OURS = __package__ or ""
_NEEDED = (DAEMON, "msgpack", "requests")
_USEFUL = ("psutil", "urllib3", "certifi", "idna", "charset_normalizer")
"""A sidecar without one of these starts, and reports what it lacks."""

_INSTEAD = "chardet"
"""The package that ``requests`` uses if there is no ``charset_normalizer``."""


def find() -> dict[str, str]:
    """The file ``__init__`` of each package, by the package's name.

    Raises:
        StartError: a package that every sidecar needs has no file.
    """
    own = _first(_OURS, frozenset())
    # Python puts the directory of the script, or the working directory, first. A package there may have the
    # same name by chance, and its code must not run in the sidecar.
    doubtful = frozenset(_front()) - {_place(own)}
    found = {_OURS: own, **{name: _first(name, doubtful) for name in (*_NEEDED, *_USEFUL)}}
    for name in (_OURS, *_NEEDED):
        if not found[name]:
            raise StartError(f"the package {name} lies in an archive, or was removed")
    if not found[_USEFUL[-1]]:
        found[_INSTEAD] = _first(_INSTEAD, doubtful)
    return {name: file for name, file in found.items() if file}


def python_path(environ: Mapping[str, str]) -> list[str]:
    """The entries of ``PYTHONPATH`` in which this process finds packages that a sidecar needs, made absolute.

    Raises:
        StartError: as ``find``.
    """
    used = {_place(file) for file in find().values()}
    entries = (os.path.abspath(entry) for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry)
    return [entry for entry in dict.fromkeys(entries) if entry in used]


def _first(name: str, doubtful: frozenset[str]) -> str:
    """The file of a package; one in a doubtful directory only if there is no other. Empty without one."""
    last_resort = ""
    for spec in _specs(name):
        if file := _package_file(spec):
            if _place(file) not in doubtful:
                return file
            last_resort = last_resort or file
    return last_resort


def _specs(name: str) -> Iterator[ModuleSpec | None]:
    """All specs under a name, in this order: the loaded package, that of each finder, that of each path."""
    yield getattr(sys.modules.get(name), "__spec__", None)
    for finder in list(sys.meta_path):
        spec = None
        with contextlib.suppress(Exception):  # a finder of the program may raise anything
            spec = finder.find_spec(name, None)
        yield spec
    for entry in list(sys.path):
        with contextlib.suppress(Exception):  # and so may a path hook
            spec = PathFinder.find_spec(name, [entry])
            yield spec


def _package_file(spec: ModuleSpec | None) -> str:
    """The file of a package, made absolute; empty for a plain module, in an archive, or without one."""
    file = getattr(spec, "origin", None)
    if not isinstance(file, str) or not os.path.basename(file).startswith("__init__."):
        return ""
    return os.path.abspath(file) if os.path.isfile(file) else ""


def _place(file: str) -> str:
    return os.path.dirname(os.path.dirname(file))


def _front() -> Iterator[str]:
    """The directory of the script, and the working directory."""
    with contextlib.suppress(OSError):  # the working directory may be gone
        yield os.getcwd()
        script = getattr(sys.modules.get("__main__"), "__file__", None)
        if isinstance(script, str):
            yield os.path.dirname(os.path.abspath(script))
