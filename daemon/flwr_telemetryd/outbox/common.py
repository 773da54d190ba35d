"""The common archive of hosts that are gone: what they sent, what was rejected, and what was damaged.

    <host>/sent/<date>.jsonl  ──lines──▶  gone.hosts/sent/<date>.jsonl
    <host>/rejected/, damaged/  ──files──▶  gone.hosts/rejected/, damaged/

Every start of a container may bring a new host name. One archive for all of them keeps their bodies as long
as any other. A reader of the home need not read ten thousand directories. The archive is laid out as the
directory of a host, so every reader and every cap finds it. No host can have its name.

On a shared home nothing is locked, and no file is appended to by two machines. There a day's file moves as it
is, and gets a name of its own, ``<date>.<hex>.jsonl``; its receipts move with it.

17. Death between the append of a host's lines and the deletion of its file: the next call leaves out every
    line that the common file holds already. One process at a time does this, under the archive's lock.

This module never deletes a line that is not in the common archive, unless its source ID was forgotten.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from flwr_telemetry import files, system
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.locks import LockResult

from ..spool import quarantine
from ..spool.directory import listing
from ..spool.locks import held
from . import archive, forgotten

log = logging.getLogger("flwr_telemetryd")


def take_in(home: Home, hosts: Iterable[HostPaths], *, is_shared: bool = False) -> bool:
    """Move the archives of hosts that are gone into the common one; False if another process is doing so.

    Args:
        home: the home.
        hosts: hosts whose directories are this user's, and in which no process works.
        is_shared: whether other machines may use the home, too.

    Raises:
        OSError, SpoolUnsafeError: the system's refusal. Every file is still at one of the two places.
    """
    common = home.gone_hosts
    files.ensure_directory(common.root)
    if is_shared:
        for host in hosts:
            _move_refused(host, common)
            days = {path.name.partition(".")[0] for path in _kept(host.sent)}
            for day in days:  # the receipts first: a body may be without one, and none may be left alone
                path = host.sent / f"{day}{archive.ARCHIVE_SUFFIX}"
                target = common.sent / f"{day}.{os.urandom(4).hex()}{archive.ARCHIVE_SUFFIX}"
                _move(archive.receipts_of(path), archive.receipts_of(target))
                _move(path, target)
        return True
    with held(common, 0, create=True) as lock:
        if lock.result is LockResult.BUSY:
            return False
        noted = forgotten.hashes(home)
        by_name: dict[str, list[Path]] = {}
        for host in hosts:
            for path in _kept(host.sent):
                by_name.setdefault(path.name, []).append(path)
            _move_refused(host, common)
        for name, paths in by_name.items():
            files.ensure_directory(common.sent)
            _append(common.sent / name, paths, noted)
    return True


def _move_refused(host: HostPaths, common: HostPaths) -> None:
    for path in _kept(host.rejected):  # the name is a key, so files of one name are one body
        _move(path, common.rejected / path.name)
    for path in _kept(host.damaged):
        free = path.name if not (common.damaged / path.name).exists() else f"{host.name}-{path.name}"
        _move(path, common.damaged / free)


def _kept(directory: Path) -> Iterator[Path]:
    """The files in a directory; temporary ones, which a death left, are deleted."""
    for path in listing(directory):
        if path.name.endswith(files.PART_SUFFIX):
            path.unlink(missing_ok=True)
        else:
            yield path


def _move(path: Path, target: Path) -> None:
    files.ensure_directory(target.parent)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, target)


def _append(target: Path, sources: Iterable[Path], noted: set[str]) -> None:
    """Append the lines of files that are not in ``target`` yet, force them to the disk, and delete the files.

    The file keeps the time of the latest of them, because the caps go by its age.
    """
    with files.opened(target, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
        size_bytes = os.fstat(descriptor).st_size
        known = {_digest(line) for line in _lines(target)}
        modified_ns = os.fstat(descriptor).st_mtime_ns if size_bytes else 0
        if size_bytes and system.pread(descriptor, 1, size_bytes - 1) != b"\n":
            files.write_all(descriptor, b"\n")  # a death tore the last line
        taken = []
        for path in sources:
            try:
                modified_ns = max(modified_ns, path.lstat().st_mtime_ns)
                for line in _lines(path):
                    if (digest := _digest(line)) in known or forgotten.has_noted(line, noted):
                        continue
                    known.add(digest)
                    files.write_all(descriptor, line + b"\n")
                taken.append(path)
            except FileNotFoundError:
                continue
            except quarantine.NOT_OURS_ERRORS as error:
                log.warning("%s stays where it is: %s", path, error)
        system.fsync(descriptor)
        system.set_times(descriptor, (modified_ns, modified_ns))
        if files.names(target, descriptor):  # otherwise it was replaced, and the next call goes on
            for path in taken:
                path.unlink(missing_ok=True)


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file. A torn line is left out, because its body was sent and archived again."""
    with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as file:
        for line in archive.lines(file):
            if line.data is not None:
                yield line.data


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()
