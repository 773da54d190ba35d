"""The sidecar's log: ``sidecar.log``, rotating, 0600, never through a link; and the journal of a service."""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import time
from collections.abc import Mapping

from flwr_telemetry import files
from flwr_telemetry.layout import HostPaths

MAX_LOG_BYTES = 256 * 1024
_FORMAT = "%(asctime)sZ %(process)d %(levelname)s %(message)s"

_STANDARD_ERROR = 2
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Those of sd-daemon(3), which a journal reads from the head of a line."""


class _SafeHandler(logging.handlers.RotatingFileHandler):
    def _open(self) -> io.TextIOWrapper:
        descriptor = files.open_file(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return io.TextIOWrapper(io.FileIO(descriptor, "a"), encoding="utf-8", write_through=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Write to the file of that name: switching off removes it, and a service may sleep through that."""
        if self.stream is not None and not self._is_named(self.stream):
            self.stream.close()
            self.stream = None  # the base class opens it again
        super().emit(record)

    def _is_named(self, stream: io.TextIOWrapper) -> bool:
        try:
            return files.names(self.baseFilename, stream.fileno())
        except OSError:
            return False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class names it
        """A log that cannot be written, on a full disk above all, is no reason to say anything else."""


class JournalFormatter(logging.Formatter):
    """Every line with its priority; the journal knows the time and the process by itself."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, and a traceback if it has one, each line of it ``<priority>words``."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def is_journal(environ: Mapping[str, str], descriptor: int = _STANDARD_ERROR) -> bool:
    """Whether a descriptor leads to the journal, as ``JOURNAL_STREAM`` tells (systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def set_up_log(host: HostPaths, environ: Mapping[str, str], *, to_stderr: bool) -> None:
    """Send the sidecar's log to its file, and to standard error for whoever started it himself."""
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    to_file: logging.Handler = _SafeHandler(host.log, maxBytes=MAX_LOG_BYTES, backupCount=1)
    to_file.setFormatter(formatter)
    handlers = [to_file]
    if to_stderr:
        handlers.append(logging.StreamHandler())
        handlers[-1].setFormatter(JournalFormatter() if is_journal(environ) else formatter)
    logger = logging.getLogger("flwr_telemetryd")
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
