"""The pieces of a body of which the collector has refused some parts. Pure.

A piece has consecutive events of a body, and is a body in Flower's form itself. It is called
``<key>.<first>``: the key of the whole body, and the place of its first event in that. So the records that
were sent for its events can be made again, with the same ``log.record.uid``.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator

from flwr_telemetry.named import NamedTuple
from flwr_telemetry.record import Event

from ..burst import codec


class Refusal(NamedTuple):
    """A part of a body of which the collector has refused all events, or some that it did not name."""

    first: int
    """The place of its first event in the body, from 0 on."""
    events: int
    """How many events it has."""
    refused: int
    """How many of them the collector refused."""
    reason: str
    """The collector's answer, shortened, for people."""


class Piece(NamedTuple):
    """Consecutive events of a body."""

    name: str
    """``<key>.<first>``; the key alone for the whole body."""
    data: bytes
    """A body in Flower's form."""
    reason: str
    """Why the collector refused it; empty if it accepted it."""


def place_of(name: str) -> tuple[str, int]:
    """The key of the whole body, and the place of the first event in it, by the name of a piece or body."""
    key, _, first = name.partition(".")
    return key, int(first) if first.isdecimal() else 0


def divide(key: str, body: bytes, refusals: Iterable[Refusal]) -> Iterator[Piece]:
    """The pieces of a body: one for each refusal, and those between them, which were accepted.

    Args:
        key: the key of the body.
        body: the body.
        refusals: without one, the whole body was accepted.

    Raises:
        NotABodyError: no ``Coalescer`` made this body.
    """
    found = sorted(refusals)
    if not found:
        yield Piece(key, body, "")
        return
    events = codec.events(body)
    done = 0
    for refusal in found:
        yield from _piece(key, done, itertools.islice(events, refusal.first - done), "")
        yield from _piece(key, refusal.first, itertools.islice(events, refusal.events), refusal.reason)
        done = refusal.first + refusal.events
    yield from _piece(key, done, events, "")


def _piece(key: str, first: int, events: Iterable[Event], reason: str) -> Iterator[Piece]:
    for body in codec.coalesced(events):
        yield Piece(f"{key}.{first}", body, reason)
        first += codec.count(json.loads(body))
