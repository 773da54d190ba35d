"""One system call, one errno: the system on the other side, as it is on a bad day."""

import errno
import fcntl
import os


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def amid(monkeypatch, step, call="write", *, after=0, module=os):
    """Do something just before the next system call of this name (after some more), as another might."""
    real, left = getattr(module, call), [step, *[int] * after]

    def then(*arguments, **options):
        if left:
            left.pop()()
        return real(*arguments, **options)

    monkeypatch.setattr(module, call, then)


def fail_once(monkeypatch, call, number, *, after=0, module=os):
    """Let the next system call of this name (after some more) fail."""

    def fail():
        raise OSError(number, os.strerror(number))

    amid(monkeypatch, fail, call, after=after, module=module)


def write_at_most(monkeypatch, size, *, full_at_call=None):
    """Let the system take so many bytes at a time, and run out of space at one of the calls."""
    real, calls = os.write, [0]

    def little(descriptor, data):
        calls[0] += 1
        if calls[0] == full_at_call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, bytes(data[:size]))

    monkeypatch.setattr(os, "write", little)


def no_locks(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
