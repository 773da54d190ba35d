"""The source ID: Flower's own file ``$FLWR_HOME/source``, a UUID4 in text.

It is created whole or not at all, by whoever is first; all others take what is there. An empty file,
left by the race in Flower's own code, is healed. This room must never overwrite an ID, and never write
at all unless it is told that it may.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from pathlib import Path

from . import files
from .context import is_uuid
from .errors import SpoolUnsafeError
from .locks import LockResult, wait_exclusive

UNAVAILABLE = "unavailable"
INVALID = "invalid"

_HEAL_WAIT_S = 0.5
_POLL_S = 0.001
_MAX_BYTES = 1024
_O_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


def look(path: Path) -> str | None:
    """The source ID as it is on disk.

    Returns:
        The ID; ``invalid`` if the file holds something else; ``unavailable`` if it cannot be read; None
        if there is none yet, or only an empty file.
    """
    try:
        raw = files.read_bytes(path, _MAX_BYTES, users_own=True)
    except FileNotFoundError:
        return None
    except (OSError, SpoolUnsafeError):
        return UNAVAILABLE
    if not raw:
        return None
    text = raw.decode("utf-8", "replace").strip()
    return text if is_uuid(text) else INVALID


def ensure(path: Path) -> str:
    """The source ID, created if there is none; ``unavailable`` if it cannot be.

    The directory of ``path`` must exist. Every process of every host that calls this at the same moment
    gets the same answer, where file locks work; where they do not, the file settles it at the next look.
    """
    deadline = time.monotonic() + _HEAL_WAIT_S
    for _ in range(3):
        found = look(path)
        if found is not None:
            return found
        try:
            if path.exists():
                _heal(path, deadline - time.monotonic())
            else:
                _create(path)
        except OSError:
            break
    return look(path) or UNAVAILABLE


def new_id() -> str:
    """A random UUID4 in text, as source and cluster IDs are."""
    return str(uuid.uuid4())


def signature(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file is replaced, removed or written; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _new_file(path: Path) -> Path:
    """A complete source file under a name of its own, beside the real one."""
    temporary = path.with_name(f"source.{new_id()}")
    descriptor = files.open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(descriptor, new_id().encode())
    except OSError:
        temporary.unlink()
        raise
    finally:
        os.close(descriptor)
    return temporary


def _create(path: Path) -> None:
    """Put an ID where there is no file: the first link wins, the others find it there."""
    temporary = _new_file(path)
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError as error:
            # File systems without hard links (some network and FUSE ones): an exclusive create is next best.
            if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}:
                raise
            if not path.exists():
                os.rename(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _heal(path: Path, wait_s: float) -> None:
    """Replace an empty file, under its lock, so that two healers do not replace each other's work."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | _O_NOFOLLOW)
    try:
        if wait_exclusive(descriptor, wait_s, _POLL_S) is LockResult.BUSY:
            return  # another process is healing it; two at once would report two IDs
        mine, named = os.fstat(descriptor), os.stat(path)
        if named.st_size or (mine.st_ino, mine.st_dev) != (named.st_ino, named.st_dev):
            return  # another process healed it, or Flower wrote at last
        temporary = _new_file(path)
        try:
            os.replace(temporary, path)
        except OSError:
            temporary.unlink()
            raise
    finally:
        os.close(descriptor)
