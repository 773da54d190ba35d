"""Finds the version of an installed distribution without importing it.

``importlib.metadata`` takes 12 ms to import. So this module lists the directories of ``sys.path`` as that one
does. ``importlib.metadata`` decides only if something else than a ``.dist-info`` may come first: an egg, an
archive, or a finder of the program.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from .imports import undisturbed

_INFO, _EGGS = ".dist-info", (".egg", ".egg-info")
_MAX_HEADER_BYTES = 4096


class _UnclearError(Exception):
    """``importlib.metadata`` may find another version than this module."""


def version(names: Sequence[str]) -> tuple[str, str] | None:
    """The name and the version of the first of these distributions that is installed; None if none is.

    Args:
        names: distributions, in lower case.
    """
    try:
        return _listed(names)
    except (_UnclearError, OSError, ValueError):
        pass
    metadata = _metadata()
    for name in names:
        with contextlib.suppress(Exception):  # it is not installed, or its metadata are damaged
            if isinstance(number := metadata.version(name), str):
                return name, number
    return None


def _listed(names: Sequence[str]) -> tuple[str, str] | None:
    if sum(hasattr(finder, "find_distributions") for finder in sys.meta_path) != 1:
        raise _UnclearError
    wanted = [name.replace("-", "_") for name in names]
    found: dict[str, str] = {}
    for entry in sys.path:
        try:
            children = os.listdir(entry or os.curdir)
        except FileNotFoundError:
            continue
        for child in children:
            lower = child.lower()
            if lower.endswith(_EGGS) or lower == "egg-info":
                raise _UnclearError
            if lower.endswith(_INFO) and (name := _normalized(lower.removesuffix(_INFO))) in wanted:
                found.setdefault(name, os.path.join(entry, child))
    for name, key in zip(names, wanted, strict=True):
        if key in found:
            return name, _version_in(found[key])
    return None


def _normalized(stem: str) -> str:
    name = stem.partition("-")[0].replace(".", "_")
    while "__" in name:
        name = name.replace("__", "_")
    return name


def _version_in(directory: str) -> str:
    with open(os.path.join(directory, "METADATA"), "rb") as file:
        head = file.read(_MAX_HEADER_BYTES).decode("ascii", "replace")
    for line in head.partition("\n\n")[0].split("\n"):
        name, _, value = line.partition(":")
        if name == "Version" and (number := value.strip()).isprintable() and number:
            return number
    raise _UnclearError


@undisturbed
def _metadata() -> ModuleType:
    import email.parser  # noqa: F401 - `importlib.metadata` imports it only when it reads a version
    import importlib.metadata

    return importlib.metadata
