"""Reads and creates the source ID: a UUID4 as text in Flower's own file ``$FLWR_HOME/source``.

The first process creates it atomically, and all others read it. An empty file, which a race in Flower's own
code leaves, is repaired. This module never overwrites an ID, and never writes unless its caller allows it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from . import files, system
from .errors import UNSUPPORTED_ERRNOS, SpoolUnsafeError
from .locks import LockResult, polls, try_exclusive, wait

UNAVAILABLE = "unavailable"
INVALID = "invalid"

_TRIES = 3
HEAL_WAIT_S = 0.2
"""The longest wait for another process that repairs an empty file, in seconds."""

_POLL_S = 0.001
_MAX_BYTES = 1024
_UUID_DIGITS = 32


def read(path: Path) -> str | None:
    """The source ID on the disk.

    Returns:
        The ID; ``invalid`` if the file holds anything else; ``unavailable`` if it cannot be read; None if it
        is missing or empty.
    """
    try:
        raw = files.read_bytes(path, _MAX_BYTES, any_owner=True)
    except FileNotFoundError:
        # No event can make the file where a link leads nowhere, for example to a disk that is not mounted.
        return UNAVAILABLE if os.path.islink(path) else None
    except (OSError, SpoolUnsafeError):
        return UNAVAILABLE
    if not raw:
        return None
    text = raw.decode("utf-8", "replace").strip()
    return text if is_uuid(text) else INVALID


def ensure(path: Path, wait_s: float = HEAL_WAIT_S) -> str:
    """The source ID, created if there is none; ``unavailable`` if that fails.

    Args:
        path: the source file.
        wait_s: the longest wait for another process that repairs an empty file.

    The directory of ``path`` must exist. Every process of every host that calls this at the same moment gets
    the same ID. There is one exception, after the death of a process that repaired an empty file on a file
    system without reliable locks. Then all have the same ID once they read the file again.
    """
    for _ in range(_TRIES):
        if (found := read(path)) is not None:
            return found
        try:
            if not path.exists():
                _create(path)
            elif not _heal(path, wait_s):
                break
        except (OSError, SpoolUnsafeError):
            break
    return read(path) or UNAVAILABLE


def new_id() -> str:
    """A random UUID4 as text, for a source or cluster ID.

    The module ``uuid`` does not make it, because a program may have replaced a function there. Then an
    invalid ID, or one that many homes share, would stay in the home. The import of ``uuid`` may also fail.
    """
    random = bytearray(os.urandom(16))
    random[6] = random[6] & 0x0F | 0x40  # the version, and the variant (RFC 9562)
    random[8] = random[8] & 0x3F | 0x80
    digits = random.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID in any form that ``uuid.UUID`` accepts, which is Flower's own check."""
    digits = text.replace("urn:", "").replace("uuid:", "").strip("{}").replace("-", "")
    try:
        return len(digits) == _UUID_DIGITS and int(digits, 16) >= 0
    except ValueError:
        return False


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A complete source file under a temporary name in the same directory, unless the block renames it."""
    temporary = path.with_name(f"source.{new_id()}")
    try:
        with files.opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
            os.write(descriptor, new_id().encode())
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _create(path: Path) -> None:
    """Create the source file: the first link wins, and the others find the file there."""
    with _new_file(path) as temporary, contextlib.suppress(FileExistsError):
        try:
            system.link(temporary, path)
        except OSError as error:
            # Some network and FUSE file systems have no hard links; there a rename has to do.
            if error.errno not in {errno.EPERM, errno.EMLINK, errno.EACCES, *UNSUPPORTED_ERRNOS}:
                raise
            if not path.exists():
                os.rename(temporary, path)


def _heal(path: Path, wait_s: float) -> bool:
    """Replace an empty file, under its lock, so that two processes do not replace each other's ID.

    Returns:
        Whether the lock was free in time. Another process may keep it for ever.
    """
    with files.opened(path, os.O_RDWR, any_owner=True) as descriptor:
        result = wait(try_exclusive, descriptor, wait_s, _POLL_S)
        if result is LockResult.BUSY:
            return False  # another process repairs it; two at once would make two IDs
        has_lock = result is LockResult.HELD
        claim = path.with_name(f"{path.name}.healing")
        with contextlib.nullcontext(True) if has_lock else files.claimed(claim) as is_ours:
            if not is_ours:
                any(read(path) for _ in polls(wait_s, _POLL_S))
            elif read(path) is None and files.names(path, descriptor):
                # Otherwise another process has repaired it, Flower has written its ID, or it is a link.
                with _new_file(path) as temporary:
                    system.replace(temporary, path)
    return True
