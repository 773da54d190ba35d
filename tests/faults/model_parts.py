"""What the world of the model is made of: clocks, hosts, processes with a face, and a collector's answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flwr_telemetry.layout import Home, HostPaths
from tests.support.collector import Answer, Collector, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from flwr_telemetry.spool import Writer
    from flwr_telemetryd.sidecar.loop import Sidecar
    from tests.faults.model_actor import Actor

OTHER_HOST = "another"
RETRY_AFTER_S = 3600.0
HOUR_S, DAY_S = 3600.0, 86_400.0
NOW_NS = 1_795_000_000 * 10**9

ANSWERS: dict[str, Answer] = {
    **{
        str(status): Answer(status) for status in (200, 202, 204, 302, 400, 404, 413, 415, 422, 429, 500, 503)
    },
    "retry in an hour": Answer(429, {"Retry-After": f"{RETRY_AFTER_S:.0f}"}),
    "retry one day": Answer(503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}),
    "retry at the epoch": Answer(503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
    "retry at once": Answer(503, {"Retry-After": "0"}),
    "retry for ever": Answer(429, {"Retry-After": "9" * 30}),
    "retry some time": Answer(429, {"Retry-After": "soon"}),
    "reset": Answer(manner="reset"),
    "close": Answer(manner="close"),
    "take and reset": Answer(manner="reset", took=True),
    "take and close": Answer(manner="close", took=True),
    "take and fail": Answer(500, took=True),
}
REFUSALS = {400, 413, 415, 422}


class Time:
    """What the rooms take for time; it passes when somebody sleeps, or when the model says so."""

    def __init__(self) -> None:
        self.monotonic_s = 1000.0
        self.wall_ns = NOW_NS

    def monotonic(self) -> float:
        return self.monotonic_s

    def sleep(self, seconds: float) -> None:
        self.monotonic_s += seconds

    def time_ns(self) -> int:
        return self.wall_ns


class HomeOf(Home):
    """A home as it is seen on a host of this name."""

    name = OTHER_HOST

    def host(self, name: str | None = None) -> HostPaths:
        return super().host(name or self.name)


class ModelCollector(Collector):
    """A collector that serves one run of the model after the other."""

    def start_afresh(self, decide: Callable[[Request], Answer]) -> None:
        with self._lock:
            self._requests.clear()
            self._accepted.clear()
            self._decide = decide


@dataclass
class Life:
    """One life of a sidecar.

    Attributes:
        sidecar: it.
        actor: its process.
        is_off: whether telemetry was off at some time since its look began.
        known: what was spooled on its host when it began.
        may_fail: whether a call that only looks is made to fail.
    """

    sidecar: Sidecar
    actor: Actor
    is_off: bool
    known: frozenset[str]
    may_fail: bool = False


@dataclass
class Pen:
    """A writer and its process, and the event that it is about to write while it is stopped."""

    host: HostPaths
    writer: Writer
    actor: Actor
    event: str = ""
    was_off: bool = False


class Faults(logging.Handler):
    """Takes down what a room told as a defect of its own."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__()
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        self._faults.append(logging.Formatter().format(record))
