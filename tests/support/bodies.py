"""Bodies for tests, made by the product's own coalescer."""

from flwr_telemetry.record import date_us
from flwr_telemetryd.burst.codec import Coalescer


def coalesce(events, *, bursts=True):
    """Give the bodies for events in the wire format, in any order."""
    coalescer = Coalescer(bursts=bursts)
    for event in events:
        context = {**event["context"], "date": date_us(event["context"]["date"])}
        yield from coalescer.add({**event, "context": context})
    yield from coalescer.finish()
