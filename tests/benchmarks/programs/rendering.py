"""Bodies to OTLP, beside ``json.dumps`` of the same records: ``python rendering.py EVENTS ROUNDS``.

It prints how many records there are, and the seconds of each round, in turn. Both encode whole requests; ours
reads the bodies, expands them, and makes the IDs of the records, too.
"""

import itertools
import json
import sys
import time
from functools import partial

import spooling

from flwr_telemetry import packing, record
from flwr_telemetryd.burst.codec import Coalescer
from flwr_telemetryd.delivery.otlp import render
from flwr_telemetryd.outbox.body import key_of


def bodies_of(count):
    coalescer, found = Coalescer(), []
    for number, (event_type, details, context) in enumerate(itertools.islice(spooling.workloads(), count)):
        head, date = packing.event_head(event_type), spooling.START_US + 1000 * number
        payload = packing.assemble(head, record.pack(details), context, date)
        found += coalescer.add(record.decode(payload))
    return [(key_of(body), body) for body in (*found, *coalescer.finish())]


def timed(work):
    begin = time.process_time()
    done = work()
    return time.process_time() - begin, done


def dumped(requests):
    return [json.dumps(one, separators=(",", ":")).encode() for one in requests]


def main(count, rounds):
    bodies, found = bodies_of(count), []
    for _ in range(rounds):
        render_s, requests = timed(lambda: [part for key, body in bodies for part in render(body, key)])
        whole = [json.loads(request) for request in requests]
        dumps_s, _ = timed(partial(dumped, whole))
        found.append({"render_s": render_s, "dumps_s": dumps_s})
    return found


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
