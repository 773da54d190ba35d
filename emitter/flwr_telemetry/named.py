"""Names of ``typing`` without ``typing``: a first event and a sidecar would load it for 3 ms, for nothing.

A type checker sees the names of ``typing``. At run time only ``NamedTuple`` does something. That of
``typing`` compiles a constructor for each class, which takes 0.15 ms. Here all classes share one constructor,
and they are made twenty times as fast. An instance takes 0.3 µs longer to make, so values of each event are
no such class, or are made by ``_make``, which takes all values in one tuple.
"""

# A type checker never reads what is defined here.
# ruff: noqa: ANN001, ANN002, ANN003, ANN202, ANN204

from __future__ import annotations

__all__ = [
    "Any",
    "ClassVar",
    "Generic",
    "NamedTuple",
    "ParamSpec",
    "Protocol",
    "Self",
    "TypeGuard",
    "TypeVar",
]

TYPE_CHECKING = False  # as in the package's `__init__`
if TYPE_CHECKING:
    from typing import Any, ClassVar, Generic, NamedTuple, ParamSpec, Protocol, Self, TypeGuard, TypeVar
else:
    Any = Protocol = object  # some annotations are evaluated, and a class of ours is below a protocol
    ClassVar = Self = TypeGuard = None
    ParamSpec = TypeVar = str

    class Generic:
        """Below a class that has a parameter; the parameter says nothing."""

        __slots__ = ()

        def __class_getitem__(cls, _):
            return cls

    try:
        from _collections import _tuplegetter
    except ImportError:  # not CPython
        from operator import itemgetter

        def _tuplegetter(number, doc):
            return property(itemgetter(number), doc=doc)

    class _Meta(type):
        """Turns the annotations of a class right below ``NamedTuple`` into fields."""

        def __new__(cls, name, bases, scope):
            is_described = bases and bases[0].__bases__ == (tuple,)
            made = type.__new__(cls, name, bases, {"__slots__": (), **scope})
            if is_described:
                made._fields = tuple(made.__annotations__)
                made._field_defaults = {field: scope[field] for field in made._fields if field in scope}
                made._last = tuple(made._field_defaults.values())  # noqa: SLF001
                for number, field in enumerate(made._fields):
                    setattr(made, field, _tuplegetter(number, None))
            return made

    class NamedTuple(tuple, metaclass=_Meta):
        """As ``typing.NamedTuple``; the fields are those of the class right below it."""

        __slots__ = ()
        _fields = ()
        _field_defaults = {}  # noqa: RUF012 - never changed
        _last = ()

        def __new__(cls, *values, **named):  # noqa: D102 - a constructor
            missing = len(cls._fields) - len(values)
            if not named and 0 < missing <= len(cls._last):
                values += cls._last[-missing:]
            elif named or missing:
                missing = cls._fields[len(values) :]
                known = {**cls._field_defaults, **named}
                if len(values) > len(cls._fields) or not (named.keys() <= set(missing) <= known.keys()):
                    raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}")
                values += tuple(known[field] for field in missing)
            return tuple.__new__(cls, values)

        _make = classmethod(tuple.__new__)

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **named):
            return type(self)(**{**self._asdict(), **named})

        def __repr__(self):
            fields = ", ".join(f"{field}={value!r}" for field, value in self._asdict().items())
            return f"{type(self).__name__}({fields})"

        def __getnewargs__(self):
            return tuple(self)
