"""Some lines of a file at a time, sorted: bodies, what was forgotten, and what is no body at all.

A line that is no body is told by its number and passed by; a last line without an end is left. This room
must never take for a body what a sidecar did not write: its bytes are its key.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from . import cursor
from .body import intact, key_of
from .cursor import Place
from .lines import lines

MAX_BODIES = 500
MAX_BYTES = 8 * 1024 * 1024
MAX_LINES = 50_000
"""Of whatever kind: a chunk of a file that holds nothing of ours has an end, too."""


@dataclass(slots=True)
class Chunk:
    """Some lines, read.

    Attributes:
        place: behind them.
        bodies: by their keys.
        forgotten: how many bodies more there were, of source IDs that were forgotten.
        damaged: the numbers of the lines that are no bodies.
        too_large: the number of the body that was left because there is no room for it; 0 if none was.
    """

    place: Place
    bodies: dict[str, bytes] = field(default_factory=dict)
    forgotten: int = 0
    damaged: list[int] = field(default_factory=list)
    too_large: int = 0


def read(
    file: io.BufferedReader,
    place: Place,
    end_bytes: int,
    room_bytes: int,
    is_forgotten: Callable[[bytes], bool],
) -> Chunk:
    """The next chunk; of what was being handed over already, no more than that.

    Args:
        file: of which file.
        place: how far it was relayed.
        end_bytes: how much of it is written.
        room_bytes: how much may be taken.
        is_forgotten: whether a body must not be sent.
    """
    chunk, room_bytes = Chunk(place), min(room_bytes, MAX_BYTES)
    end, number, handed = place.offset, place.line, place.handed
    stop = end_bytes if handed is None else min(handed.end, end_bytes)
    for line in itertools.islice(lines(file, end, number, stop), MAX_LINES):
        body = None if line.data is None else _body_of(line.data)
        if body and not is_forgotten(body):
            room_bytes -= len(body)
            if room_bytes < 0:
                chunk.too_large = 0 if end > place.offset else line.number
                break
            chunk.bodies[key_of(body)] = body
        elif body:
            chunk.forgotten += 1
        elif line.data != b"":
            chunk.damaged.append(line.number)
        end, number = line.end, line.number
        if len(chunk.bodies) == MAX_BODIES:
            break
    rest = handed if handed is not None and end < handed.end else None
    chunk.place = Place(end, number, cursor.check_of(file.fileno(), end), rest)
    return chunk


def _body_of(line: bytes) -> bytes | None:
    """The line, if it is a body as a sidecar wrote it; another program's line end makes it another one."""
    return line if line.strip() == line and intact(key_of(line), line) else None
