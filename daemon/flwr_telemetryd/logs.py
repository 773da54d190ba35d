"""``sidecar.log``: rotating, 0600, never through a link."""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import time

from flwr_telemetry import files
from flwr_telemetry.layout import HostPaths

MAX_LOG_BYTES = 256 * 1024
_FORMAT = "%(asctime)sZ %(process)d %(levelname)s %(message)s"


class _SafeHandler(logging.handlers.RotatingFileHandler):
    def _open(self) -> io.TextIOWrapper:
        descriptor = files.open_file(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return io.TextIOWrapper(io.FileIO(descriptor, "a"), encoding="utf-8", write_through=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class names it
        """A log that cannot be written, on a full disk above all, is no reason to say anything else."""


def set_up_log(host: HostPaths, *, to_stderr: bool) -> None:
    """Send the sidecar's log to its file, and to standard error for whoever started it by hand."""
    handlers: list[logging.Handler] = [_SafeHandler(host.log, maxBytes=MAX_LOG_BYTES, backupCount=1)]
    if to_stderr:
        handlers.append(logging.StreamHandler())
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    logger = logging.getLogger("flwr_telemetryd")
    logger.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
