"""One system call, one errno: the system on the other side, as it is on a bad day."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import pytest


def descriptors() -> list[str]:
    """Give the descriptors that this process has open."""
    return sorted(os.listdir("/proc/self/fd"))


def amid(
    monkeypatch: pytest.MonkeyPatch,
    step: Callable[[], object],
    call: str = "write",
    *,
    after: int = 0,
    module: ModuleType = os,
) -> None:
    """Do something just before the next system call of this name (after some more), as another might."""
    real, left = getattr(module, call), [step, *[int] * after]

    def then(*arguments: Any, **options: Any) -> Any:
        if left:
            left.pop()()
        return real(*arguments, **options)

    monkeypatch.setattr(module, call, then)


def fail_once(
    monkeypatch: pytest.MonkeyPatch, call: str, number: int, *, after: int = 0, module: ModuleType = os
) -> None:
    """Let the next system call of this name (after some more) fail."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    amid(monkeypatch, fail, call, after=after, module=module)


class DeathError(BaseException):
    """Stands for a SIGKILL: nothing catches it, and nothing is cleaned up that the system would not clean."""


def die(monkeypatch: pytest.MonkeyPatch, call: str, at: int) -> None:
    """Die just before a system call of this name, after so many others of it; and before every later one."""
    real, numbers = getattr(os, call), itertools.count()

    def dying(*arguments: Any, **options: Any) -> Any:
        if next(numbers) >= at:
            raise DeathError
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, dying)


def write_at_most(monkeypatch: pytest.MonkeyPatch, size: int, *, full_at_call: int | None = None) -> None:
    """Let the system take so many bytes at a time, and run out of space at one of the calls."""
    real, calls = os.write, [0]

    def little(descriptor: int, data: bytes) -> int:
        calls[0] += 1
        if calls[0] == full_at_call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, bytes(data[:size]))

    monkeypatch.setattr(os, "write", little)


def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a file system that knows no locks."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
