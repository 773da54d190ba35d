"""The uploader: sends the bodies of the queue, one after the other.

``delivery/responses.py`` maps an answer to an outcome, ``outbox/queue.py`` settles the body, and
``delivery/backoff.py`` decides when to try again. The uploader's memory may be lost at any moment without
harm. This module never opens a file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from flwr_telemetry import packing
from flwr_telemetry.settings import Settings

from ..outbox import archive
from ..outbox.body import Body
from ..outbox.queue import Queue
from ..runtime import Runtime
from .backoff import RetryPolicy
from .outcome import Delivered, PartSent, Refused, Retry, Sink

log = logging.getLogger("flwr_telemetryd")


class Uploader:
    """Sends the due bodies of this host's queue.

    Args:
        runtime: the run.
        queue: this host's outbox.
        open_sink: makes the sink that the settings name.
    """

    def __init__(self, runtime: Runtime, queue: Queue, open_sink: Callable[[Settings], Sink]) -> None:
        self._runtime = runtime
        self._queue = queue
        self._open_sink = open_sink
        self._sink: Sink | None = None
        self._sink_settings: Settings | None = None
        self._last_failed: Path | None = None
        self._flush_requested = False
        self.retry_policy = RetryPolicy(
            runtime.host, runtime.clock, lambda: runtime.limits, runtime.state, self._is_kept
        )
        self.was_answered = False
        """Whether the collector has answered any request of this run."""

    def close(self) -> None:
        """Close the connections."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def deliver(self, *, flush_requested: bool) -> None:
        """Send the bodies of this host's queue, until one has to wait.

        Args:
            flush_requested: a user asked for delivery, so nothing waits after an outage.
        """
        self._flush_requested = flush_requested
        if self._is_kept():
            self._runtime.state.last_error = self._runtime.state.next_try = ""
        self._queue.repair(self._runtime.host)
        for body in self._due():
            if not self._runtime.checkpoint():
                return
            # A local fault delays this body alone.
            go_on = self._runtime.faults.run(body.path.name, self._upload, True, body)
            if not go_on or self.retry_policy.spread_left_s() > 0:
                return

    def _due(self) -> Iterator[Body]:
        """The due bodies; the last failed one comes at the end, because only that one may fail."""
        last: list[Body] = []
        for body in self._queue.due():
            if body.path == self._last_failed:
                last.append(body)
            else:
                yield body
        yield from last

    def _upload(self, body: Body) -> bool:
        """Send one body; whether to go on with the next."""
        while (go_on := self._send(body)) is None:
            continue  # each part is a request of its own, before which everything is checked again
        return go_on

    def _send(self, body: Body) -> bool | None:
        """Send one body, or its next part; whether to go on with the next body, None if a part is left."""
        loaded = self._queue.load(body)
        if loaded is None:
            return True
        if self._is_kept() or packing.UPLOAD in loaded.event["context"]:
            self._queue.accept(loaded, status=None, url=archive.NOWHERE)
            return True
        outcome = self._connected().send(body.key, loaded.data)
        self._runtime.state.requests += 1
        if not isinstance(outcome, Delivered) and not self._runtime.checkpoint():
            return False  # after an opt-out during the request, nothing more is written
        if isinstance(outcome, PartSent):
            return None
        if isinstance(outcome, Retry):
            self._failed(body, outcome)
            return False
        self._succeeded(body)  # only in memory: nothing that can fail may come before `accept`
        if isinstance(outcome, Refused):
            parts = self._queue.reject(loaded, outcome.reason)
            return all(self._runtime.checkpoint() and self._upload(part) for part in parts)
        url = self._runtime.settings().url
        self._queue.accept(loaded, status=outcome.status, url=url, refusals=outcome.refusals)
        return True

    def _is_kept(self) -> bool:
        """Whether the settings say that nothing is sent."""
        return bool(self._runtime.settings().kept_by)

    def _connected(self) -> Sink:
        """The sink, opened again if the settings that it depends on have changed."""
        settings = self._runtime.settings()
        if self._sink is None or settings != self._sink_settings:
            self.close()
            self._sink, self._sink_settings = self._open_sink(settings), settings
        return self._sink

    def _failed(self, body: Body, outcome: Retry) -> None:
        self._last_failed = body.path
        wait_s = self.retry_policy.failed(outcome.after_s, needs_repair=outcome.needs_repair)
        state = self._runtime.state
        state.retried += 1
        state.last_error, state.next_try = outcome.reason, self._in(wait_s)
        log.warning("not delivered: %s; next try in %.1f s", outcome.reason, wait_s)

    def _succeeded(self, body: Body) -> None:
        self.was_answered, self._last_failed = True, None
        state = self._runtime.state
        state.last_error = state.next_try = ""
        waited_s = self._waited_s(body)
        if wait_s := self.retry_policy.succeeded(waited_s=waited_s, flush_requested=self._flush_requested):
            state.next_try = self._in(wait_s)
            log.info("delivered again; the other bodies follow in %.1f s", wait_s)

    def _waited_s(self, body: Body) -> float:
        """The age of the body's batch, by its name."""
        taken_ns = body.path.parent.name.partition("-")[0]
        return (self._runtime.clock.time_ns() - int(taken_ns)) / 1e9 if taken_ns.isdecimal() else 0.0

    def _in(self, seconds: float) -> str:
        return (self._runtime.clock.now() + timedelta(seconds=seconds)).isoformat()
