"""The sidecar's log: ``sidecar.log``, rotating, mode 0600, never through a link; and a service's journal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import time
from collections.abc import Mapping

from flwr_telemetry import files, settings
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths

log = logging.getLogger("flwr_telemetryd")

MAX_LOG_BYTES = 256 * 1024

_STANDARD_ERROR = 2
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""The priorities of sd-daemon(3), which a journal reads from the beginning of a line."""


class _SafeHandler(logging.FileHandler):
    """A handler of its own, because ``logging.handlers`` loads 16 modules, sockets and pickles among them."""

    def __init__(self, host: HostPaths) -> None:
        super().__init__(host.log)
        self._home = Home(host.telemetry.parent)

    def _open(self) -> io.TextIOWrapper:
        descriptor = files.open_file(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return io.TextIOWrapper(io.FileIO(descriptor, "a"), encoding="utf-8", write_through=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Open the file again if its name is gone, but not after an opt-out: ``disable`` removes the log."""
        with contextlib.suppress(OSError):
            if self.stream is not None and not files.names(self.baseFilename, self.stream.fileno()):
                if not settings.load(self._home, None).consent.enabled:
                    return
                self._close()
            elif self.stream is not None and os.fstat(self.stream.fileno()).st_size >= MAX_LOG_BYTES:
                self._close()
                os.replace(self.baseFilename, f"{self.baseFilename}.1")
        # The base class opens the file outside of its `try`.
        with contextlib.suppress(OSError, TelemetryError):
            super().emit(record)

    def _close(self) -> None:
        """Close the file; the base class opens it again."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class names it
        """Ignore a log that cannot be written, for example on a full disk."""


class JournalFormatter(logging.Formatter):
    """Puts a priority before every line. The journal adds time and process."""

    def format(self, record: logging.LogRecord) -> str:
        """The message and its traceback, each line as ``<priority>text``."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def is_journal(environ: Mapping[str, str], descriptor: int = _STANDARD_ERROR) -> bool:
    """Whether a descriptor is the journal, by ``JOURNAL_STREAM`` (systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def set_up_log(host: HostPaths, environ: Mapping[str, str], *, to_stderr: bool) -> None:
    """Send the sidecar's log to its file and, if ``to_stderr``, to standard error."""
    formatter = logging.Formatter("%(asctime)sZ %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    log.setLevel(logging.INFO)
    for former in log.handlers[:]:  # a run that begins again
        log.removeHandler(former)
        former.close()
    handler: logging.Handler = _SafeHandler(host)
    handler.setFormatter(formatter)
    log.addHandler(handler)
    if to_stderr:
        handler = logging.StreamHandler()
        handler.setFormatter(JournalFormatter() if is_journal(environ) else formatter)
        log.addHandler(handler)
