"""Forces the files of a batch to the disk, after all of them are written.

Each fsync makes the disk empty its cache, whatever was written before: 20,000 of them take minutes on an
ordinary disk. So many files are forced by one ``syncfs``, which takes two such commands. It forces other
files of the file system, too, so a few files are forced one by one.

Measured on ext4 for 2000 bodies, in commands to empty the cache of the disk: 2001 with an fsync after each
file, 2001 with all of them at the end, 600 to 1400 with 8 to 32 threads, 2 with ``syncfs``.

The fsync of macOS does not make the disk empty its cache. There the directory of the batch, forced last,
does so for all of its files (``system.fsync``).

This module never writes, and never deletes a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from flwr_telemetry import files, system

MANY = 64
"""More files than this are forced by one call, where the system has it."""


def sync_files(
    directory: Path, count: int, names: Iterable[str], checkpoint: Callable[[], object] = lambda: None
) -> None:
    """Force files of one directory to the disk, but not the names in it.

    Args:
        directory: the directory.
        count: how many files were written, roughly.
        names: their names; read only if they are forced one by one.
        checkpoint: called before each call that may take long.

    Raises:
        OSError: the system could not write a file. Linux before 5.8 reports that of single files alone.
    """
    if count > MANY:
        checkpoint()
        if system.sync_file_system(directory):
            return
    for name in names:
        checkpoint()
        with files.opened(directory / name, system.SYNC_FLAGS) as descriptor:
            os.fsync(descriptor)
