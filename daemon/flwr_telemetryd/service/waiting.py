"""Wait until an installed service serves, or until it is clear that it does not."""

from __future__ import annotations

from collections.abc import Mapping

from flwr_telemetry.layout import Home

from ..clock import Clock
from .view import ServiceStatus, look

SERVES_S = 20.0
FAILS_S = 3.0
"""What waited before may have an old error beside it, until the new process has tried for itself."""

_POLL_S = 0.1


def wait(home: Home, environ: Mapping[str, str], clock: Clock, *, hopeless: bool = False) -> ServiceStatus:
    """How it stands once that is settled, or after ``SERVES_S``.

    Args:
        home: as for ``look``.
        environ: this process's variables.
        clock: time.
        hopeless: it could not be started; only look.
    """
    start = clock.monotonic()
    while True:
        view = look(home, environ)
        past_s = clock.monotonic() - start
        settled = view.serves or hopeless or view.active.startswith(("failed", "inactive"))
        if settled or past_s >= (FAILS_S if view.fails else SERVES_S):
            return view
        clock.sleep(_POLL_S)
