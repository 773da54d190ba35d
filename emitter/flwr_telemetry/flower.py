"""Adopt into a Flower that knows nothing of us.

``install`` puts one finder on ``sys.meta_path``. It waits for a telemetry module of Flower's and, right
after Flower has executed it, replaces ``event`` and ``create_event`` there by ours (``adopted.py``).
Whoever imports them later gets ours; Flower's own ``EventType``, its ``state`` and its logger stay as they
are.

Every Python process under ``flwr-telemetry run`` pays for this module, whether it ever sees Flower or
not. Hence it must never import anything at its top but ``sys``, and never raise into the import of
somebody else. And once it is installed Flower must never send by itself: if our own emitter cannot
be loaded, Flower's events are dropped with one warning, because a user's no may stand in a file
that only our emitter reads.

A site that cannot change Flower writes one line into its own ``sitecustomize``:

    import flwr_telemetry.flower; flwr_telemetry.flower.install()
"""

import sys

# The name alone is what type checkers look for; ``typing`` would be the dearest import of the start.
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

__all__ = ["install"]

# The telemetry modules, and the package that reports by each.
_PACKAGES = {
    "flwr.supercore.telemetry": "flwr",  # from 1.32 on
    "flwr.common.telemetry": "flwr",
    "flwr_datasets.common.telemetry": "flwr-datasets",
}
MARK = "_of_flwr_telemetry"
"""The name under which a function that stands in holds itself; a wrapper that copies it holds another."""


def install() -> None:
    """Report through our emitter what Flower reports, in this process, from now on.

    May be called at any time and any number of times: a Flower that is loaded already is changed at
    once, and so is each module that holds one of the two functions by then. Changes nothing where there
    is no Flower. Never raises.
    """
    try:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        # Only now, so that an import in another thread meets the finder or is met here.
        for name in _PACKAGES:
            if sys.modules.get(name) is not None:
                __import__(name)  # waits for another thread that is still executing it
                _adopt(sys.modules[name], rebind=True)
    except Exception as error:  # noqa: BLE001 - a training must not fail for its telemetry
        _warn("Flower could not be adopted, so it reports by itself", error)


class _Finder:
    """Finds Flower's telemetry module as the finders behind it do, and wraps its loader."""

    def find_spec(
        self,
        fullname: str,
        path: "Sequence[str] | None" = None,
        target: "ModuleType | None" = None,
    ) -> "ModuleSpec | None":
        """Return the spec that Python would have found, or None to let Python find it without us."""
        # Who came before us since may know where Flower is; who answers for few names lets us be asked
        # for one of all the others first.
        if sys.meta_path[0] is not self and self in sys.meta_path:
            # In front before it is gone from behind: other threads import meanwhile.
            sys.meta_path.insert(0, self)
            del sys.meta_path[len(sys.meta_path) - 1 - sys.meta_path[::-1].index(self)]
        if fullname not in _PACKAGES:
            return None
        try:
            # Those before us have been asked. To ask only those behind us ends, even where another
            # finder does the same.
            behind = sys.meta_path.index(self) + 1
            for finder in sys.meta_path[behind:]:
                # One of the old kind has none, and Python passes it over.
                find = getattr(finder, "find_spec", None)
                if find is None or finder is self:
                    continue
                spec = find(fullname, path, target)
                if spec is not None:
                    return _wrapped(spec)
        except Exception:  # noqa: BLE001
            # Python asks the same finders next; what is wrong with one of them is raised there.
            return None
        return None


def _wrapped(spec: "ModuleSpec") -> "ModuleSpec":
    loader = spec.loader
    # Without ``exec_module`` it is one of the old kind, which Python calls otherwise.
    if loader is not None and hasattr(loader, "exec_module") and not isinstance(loader, _Loader):
        spec.loader = _Loader(loader)
    return spec


class _Loader(Loader):
    """Stands before a module's own loader until the module is executed, then is gone from it.

    ``inspect``, ``importlib.resources`` and ``reload`` find the module's own loader afterwards. Until then
    all but the two methods of PEP 451 is the own loader's.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        # Only what is missing here comes this way. Copying and unpickling ask an instance without
        # a ``_loader`` for its attributes: that must not come here again for ever.
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

    With ``rebind``, also wherever else in a module the old ones are held.
    """
    try:
        # On the function, since a module that is executed again keeps all its other names.
        if not callable(getattr(module, "event", None)) or _is_adopted(module.event):
            return
        ours = _stand_ins(module)
        theirs = {name: getattr(module, name) for name in ours if hasattr(module, name)}
        for name, new in ours.items():
            setattr(new, MARK, new)
            setattr(module, name, new)
        if rebind:
            for name, old in theirs.items():
                _rebind(old, ours[name])
    except Exception as error:  # noqa: BLE001
        _warn("Flower could not be adopted, so it reports by itself", error)


def _is_adopted(event: "Callable[..., Any]") -> bool:
    # A mock has whatever it is asked for.
    return type(getattr(event, MARK, None)) is type(_is_adopted)


def _rebind(old: object, new: object) -> None:
    # Over copies, for other threads import on meanwhile.
    for module in list(sys.modules.values()):
        try:
            # Not by asking the module: a lazy one would be loaded by that.
            names = object.__getattribute__(module, "__dict__")
            for name in [name for name, value in list(names.items()) if value is old]:
                names[name] = new
        except Exception:  # noqa: BLE001, S112 - not a module, and so not one that holds Flower's
            continue


def _stand_ins(module: "ModuleType") -> "dict[str, Callable[..., Any]]":
    try:
        from .adopted import stand_ins

        return stand_ins(module, _PACKAGES[module.__name__])
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
    except Exception:  # noqa: BLE001, S110 - there is nobody left to tell
        pass
