"""Delete what was not sent, on every host of a home, so that opting out strands nothing."""

from __future__ import annotations

import logging
import os
import secrets
import shutil

from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Consent

from . import guard, segments
from .retention import hosts

log = logging.getLogger("flwr_telemetryd")

_ASIDE = ".purged"


def if_asked(home: Home, consent: Consent) -> None:
    """Delete what was not sent if it is the user's own file that says no.

    A site's no, another user's process or a file that cannot be understood stop telemetry, but purge nothing.
    """
    if not consent.enabled and consent.decided_by == "user file" and not consent.malformed:
        unsent(home)


def unsent(home: Home) -> None:
    """Rename every ``spool/``, ``work/`` and ``outbox/`` aside and delete them.

    A writer that still appends to a segment of a spool that went aside finds that its path is gone, reads
    consent and stops. What was sent before stays: it is the record of the past.
    """
    for host in hosts(home):
        try:
            guard.check_root(host)
        except (OSError, TelemetryError) as error:
            log.warning("%s is not purged: %s", host.root, error)
            continue
        for left in segments.listing(host.root):  # by a purge that was killed
            if left.name.endswith(_ASIDE):
                shutil.rmtree(left, ignore_errors=True)
        for directory in (host.spool, host.work, host.outbox):
            aside = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}{_ASIDE}")
            try:
                os.rename(directory, aside)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("%s cannot be purged: %s", directory, error)  # the others can
                continue
            shutil.rmtree(aside, ignore_errors=True)
