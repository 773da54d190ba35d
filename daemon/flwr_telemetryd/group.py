"""The events that become one body. Pure: members in, a body out.

How large a body would be is known as an upper bound at any moment, without making it: at first as if no two
rows had a value in common; once that does not fit any more, by what they have in common. Equal details are
kept once: a million equal events must not take a million of them.

This room must never touch a file, a clock or the network.
"""

from __future__ import annotations

import json
from collections import Counter
from json.encoder import encode_basestring_ascii
from operator import itemgetter
from typing import Any

from flwr_telemetry.record import to_wire

from .members import Details, Kind, Member, dumps

# Upper bounds of what JSON adds around a burst, a row with its numbers, a name, a cluster ID.
_BURST_BYTES = 96
_ROW_BYTES = 30
_PER_NAME_BYTES = 3

_TOO_MANY_BYTES = 2**62

_ROW_MEMORY_BYTES, _CLUSTER_MEMORY_BYTES = 200, 120
_DETAILS_MEMORY_BYTES, _DETAILS_MEMORY_FACTOR = 300, 2
_GROUP_MEMORY_BYTES = 8 * 1024


class Group:
    """Events of one kind.

    Args:
        kind: what they share.

    Attributes:
        held_bytes: of memory, roughly.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._rows: list[tuple[int, str, Details]] = []
        self._details: set[Details] = set()
        self._clusters: set[str] = set()
        names_bytes = sum(len(dumps(name)) + _PER_NAME_BYTES for name in kind.names)
        self._frame_bytes = len(dumps(self._whole({}, "", 0))) + _BURST_BYTES + 3 * names_bytes
        self._constant: list[tuple[int, str]] | None = None
        self._varying = list(range(len(kind.names)))
        self._largest_bytes = self._longest_bytes = self._clusters_bytes = 0
        self._size_bytes = self._frame_bytes
        self.held_bytes = _GROUP_MEMORY_BYTES

    def add(self, member: Member, most_bytes: int) -> bool:
        """Take a member, unless the body might then have more than so many bytes; never refuses the first."""
        _, details, cluster, date_us = member
        own_bytes = details.size_bytes if self._constant is None else self._differing_bytes(details)
        size_bytes = _ROW_BYTES + len(self._varying) + own_bytes
        longest_bytes, largest_bytes = self._longest_bytes, max(self._largest_bytes, details.size_bytes)
        if is_new_cluster := cluster not in self._clusters:
            cluster_bytes = len(encode_basestring_ascii(cluster)) + 1
            longest_bytes = max(longest_bytes, cluster_bytes)
            size_bytes += cluster_bytes
        # Whichever event turns out to be the earliest stands at the head of the body, whole.
        if self._size_bytes + size_bytes + longest_bytes + largest_bytes > most_bytes and self._rows:
            if self._constant is not None and own_bytes < _TOO_MANY_BYTES:
                return False
            self._look_closer(details)
            return self.add(member, most_bytes)
        self._size_bytes += size_bytes
        if is_new_cluster:
            self._clusters.add(cluster)
            self._clusters_bytes += cluster_bytes
            self._longest_bytes = longest_bytes
            self.held_bytes += _CLUSTER_MEMORY_BYTES
        if details not in self._details:
            self._details.add(details)
            self._largest_bytes = largest_bytes
            self.held_bytes += _DETAILS_MEMORY_FACTOR * details.size_bytes + _DETAILS_MEMORY_BYTES
        self._rows.append((date_us, cluster, details))
        self.held_bytes += _ROW_MEMORY_BYTES
        return True

    def _look_closer(self, more: Details) -> None:
        """Find out which values are the same in all rows, and in these; count those of the others alone."""
        self._varying = self._differing(more)
        varying = set(self._varying)
        self._constant = [(index, text) for index, text in enumerate(more.texts) if index not in varying]
        uses = Counter(details for _, _, details in self._rows)
        values_bytes = sum(count * self._differing_bytes(details) for details, count in uses.items())
        rows_bytes = len(self._rows) * (_ROW_BYTES + len(self._varying))
        self._size_bytes = self._frame_bytes + self._clusters_bytes + rows_bytes + values_bytes

    def _differing(self, *more: Details) -> list[int]:
        """The indexes of the details that are not all equal."""
        texts = [details.texts for details in (*self._details, *more)]
        return [index for index in range(len(self._kind.names)) if len({text[index] for text in texts}) > 1]

    def _differing_bytes(self, details: Details) -> int:
        """What of these details stands in a row; far too much if they lack what all others have in common."""
        texts = details.texts
        for index, text in self._constant or ():
            if texts[index] != text:
                return _TOO_MANY_BYTES
        return sum([len(texts[index]) for index in self._varying])

    def body(self) -> bytes:
        """The group as one request body."""
        self._rows.sort(key=itemgetter(0))
        base_us, cluster, details = self._rows[0]
        whole = self._whole(
            dict(zip(self._kind.names, map(json.loads, details.texts), strict=True)), cluster, base_us
        )
        if len(self._rows) == 1:
            return dumps(whole).encode()
        clusters: dict[str, int] = {}
        names = sorted((self._kind.names[index], index) for index in self._differing())
        # Row by row into text, since ten thousands of rows as lists take many times the memory.
        values = {known: "".join("," + known.texts[index] for _, index in names) for known in self._details}
        rows = ",".join(
            [
                f"[{clusters.setdefault(cluster, len(clusters))},{date_us - base_us}{values[details]}]"
                for date_us, cluster, details in self._rows
            ]
        )
        burst = {
            "count": len(self._rows),
            "clusters": list(clusters),
            "varying": [name for name, _ in names],
            "events": [],
        }
        head = dumps({**whole, "burst": burst})
        return f"{head.removesuffix(']}}')}{rows}]}}}}".encode()

    def _whole(self, details: dict[str, Any], cluster: str, date_us: int) -> dict[str, Any]:
        context = {**self._kind.context, "cluster": cluster, "date": date_us}
        event = {"event_type": self._kind.event_type, "event_details": details, "context": context}
        return to_wire(event)
