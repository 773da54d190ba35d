"""Adopts an unchanged Flower: its events go through this package, and Flower itself sends nothing.

``install`` puts one finder on ``sys.meta_path``. It waits for a telemetry module of Flower's and, right
after Flower has executed it, replaces ``event`` and ``create_event`` there (see ``functions.py``). Every
later import of them gets the replacements. Flower's own ``EventType``, its ``state`` and its logger stay.

Every Python process under ``flwr-telemetry run`` loads this module, even one that never imports Flower. So it
imports nothing but ``sys`` at its top, and finder and loader are here and not in a module of their own. It
never raises into the import of another package.

Once it is installed, Flower never sends by itself. If the emitter cannot be imported, Flower's events are
dropped with one warning: only the emitter can read an opt-out in a file. On a system that is not supported,
nothing is replaced, and Flower reports by itself.

A site that cannot change Flower writes this into its own ``sitecustomize``:

    try:
        import flwr_telemetry.flower

        flwr_telemetry.flower.install()
    except ImportError:
        pass  # uninstalled
"""

import sys

# Type checkers know this name; the module ``typing`` would be the most expensive import here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any
else:
    Loader = object

__all__ = ["install", "is_installed", "is_supported"]

# The telemetry modules, and the package that reports through each.
_PACKAGES = {
    "flwr.supercore.telemetry": "flwr",  # from 1.32 on
    "flwr.common.telemetry": "flwr",
    "flwr_datasets.common.telemetry": "flwr-datasets",
}
MARK = "_of_flwr_telemetry"
"""The attribute in which a replacement holds itself. A wrapper that copies it holds the replacement there."""


def install() -> None:
    """Report Flower's events through this package, in this process, from now on.

    May be called at any time and any number of times. A Flower that is imported already is changed at once,
    and so is each module that holds one of the two functions by then. Changes nothing where there is no
    Flower, nor where the emitter cannot work. Never raises.
    """
    try:
        if not is_installed():
            sys.meta_path.insert(0, _Finder())
        # After the finder is in place: another thread's import finds it there, or is found here.
        for name in _PACKAGES:
            if sys.modules.get(name) is not None:
                __import__(name)  # waits for a thread that still executes the module
                _adopt(sys.modules[name], rebind=True)
    except Exception as error:  # noqa: BLE001 - telemetry must not make a training fail
        _warn("Flower could not be adopted, so it reports by itself", error)


def is_installed() -> bool:
    """Whether the finder waits for Flower in this process."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def is_supported() -> bool:
    """Whether the emitter can work on this system."""
    from ..system import IS_SUPPORTED

    return IS_SUPPORTED


class _Finder:
    """Finds Flower's telemetry modules as the finders behind it do, and wraps their loader."""

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """The spec that Python would have found; None lets Python go on with the next finder."""
        # A finder before this one may find Flower's module, so Python would not ask this one for it. So this
        # one moves to the front as soon as Python asks it for any other name.
        if sys.meta_path[0] is not self and self in sys.meta_path:
            # Inserted before it is removed, because other threads import meanwhile.
            sys.meta_path.insert(0, self)
            del sys.meta_path[len(sys.meta_path) - 1 - sys.meta_path[::-1].index(self)]
        if fullname not in _PACKAGES:
            return None
        try:
            # Python has asked the finders before this one. Asking only those behind it cannot recurse for
            # ever, even if another finder does the same.
            for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
                # An old finder has no ``find_spec``, and Python skips it, too.
                find = getattr(finder, "find_spec", None)
                spec = None if find is None or finder is self else find(fullname, path, target)
                if spec is not None:
                    # Python calls a loader without ``exec_module``, an old one, in another way.
                    if hasattr(spec.loader, "exec_module") and not isinstance(spec.loader, _Loader):
                        spec.loader = _Loader(spec.loader)
                    return spec  # type: ignore[no-any-return]
        except Exception:  # noqa: BLE001
            # Python asks the same finders next, and gets the same exception.
            return None
        return None


class _Loader(Loader):
    """Wraps a module's own loader until the module is executed, and adopts the module then.

    Afterwards the module has its own loader again, for ``inspect``, ``importlib.resources`` and ``reload``.
    Until then every attribute but the two methods of PEP 451 is the own loader's.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        # Copying and unpickling ask an instance without ``_loader`` for attributes: no endless recursion.
        if name == "_loader":
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        return self._loader.create_module(spec)

    def exec_module(self, module: "ModuleType") -> None:
        loader = self._loader
        module.__loader__ = loader
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__.loader = loader
        loader.exec_module(module)
        _adopt(module)


def _adopt(module: "ModuleType", *, rebind: bool = False) -> None:
    """Replace the two functions in a telemetry module of Flower's; never raises.

    With ``rebind``, also in every other module that holds the old ones.
    """
    try:
        # The function has the mark, because a module that is executed again keeps all its other names. A mock
        # has every attribute, but none that is a function.
        event = getattr(module, "event", None)
        if not callable(event) or type(getattr(event, MARK, None)) is type(_adopt) or not is_supported():
            return
        ours = _replacements(module)
        for name, new in ours.items():
            old = getattr(module, name, None)
            setattr(new, MARK, new)
            setattr(module, name, new)
            if rebind and old is not None:
                _rebind(old, new)
    except Exception as error:  # noqa: BLE001
        _warn("Flower could not be adopted, so it reports by itself", error)


def _rebind(old: object, new: object) -> None:
    # Copies, because other threads import meanwhile.
    for module in list(sys.modules.values()):
        try:
            # Not ``vars(module)``, which would load a lazy module.
            names = object.__getattribute__(module, "__dict__")
            for name in [name for name, value in list(names.items()) if value is old]:
                names[name] = new
        except Exception:  # noqa: BLE001, S112 - not a module
            continue


def _replacements(module: "ModuleType") -> "dict[str, Callable[..., Any]]":
    try:
        from .functions import replacements

        return replacements(module, _PACKAGES[module.__name__], MARK)
    except Exception as error:  # noqa: BLE001
        _warn("the emitter could not be loaded, so this process reports nothing", error)
        return {"event": _dropped_event, "create_event": _dropped_create_event}


def _dropped_event(*_: object, **__: object) -> "Future[str]":
    from concurrent.futures import Future

    future: Future[str] = Future()
    future.set_result("disabled")
    return future


def _dropped_create_event(*_: object, **__: object) -> str:
    return "disabled"


def _warn(what: str, error: Exception) -> None:
    try:
        import logging

        logging.getLogger("flwr-telemetry").warning("flwr-telemetry: %s: %r", what, error)
    except Exception:  # noqa: BLE001, S110 - there is no other way to tell
        pass
