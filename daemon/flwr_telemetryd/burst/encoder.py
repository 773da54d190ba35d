"""The events that become one body. Pure: rows in, a body out.

An upper bound of the body's size is known at any moment, without encoding it. A detail whose value is equal
in all rows is counted once, any other detail in every row. Equal values are held once: a million equal events
must not hold a million of them.

This module never opens a file, reads a clock or uses the network.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from operator import itemgetter

from flwr_telemetry.named import Any
from flwr_telemetry.record import to_wire

from .grouping import GroupKey, Values, dumps

# Upper bounds of what JSON adds around a burst, a row with its numbers, and a name.
_BURST_BYTES = 96
_ROW_BYTES = 30
_PER_NAME_BYTES = 3

_ROW_MEMORY_BYTES, _CLUSTER_MEMORY_BYTES = 200, 120
_VALUES_MEMORY_BYTES, _VALUES_MEMORY_FACTOR = 300, 2
_GROUP_MEMORY_BYTES = 8 * 1024


class BurstEncoder:
    """Collects the events of one group."""

    def __init__(self, key: GroupKey) -> None:
        self._key = key
        self._rows: list[tuple[int, str, int]] = []
        """Date, cluster, and index into ``_values``."""
        self._values: dict[Values, int] = {}
        self._constants: dict[int, str] = {}
        """The values that are equal in all rows, by index into ``key.names``."""
        self._clusters: set[str] = set()
        names_bytes = sum(len(dumps(name)) + _PER_NAME_BYTES for name in key.names)
        self._fixed_bytes = len(dumps(self._whole({}, "", 0))) + _BURST_BYTES + 3 * names_bytes
        self.held_bytes = max(_GROUP_MEMORY_BYTES, 2 * self._fixed_bytes)
        """Of memory, roughly."""
        self._row_bytes = self._values_bytes = self._clusters_bytes = 0
        self._largest_bytes = self._longest_bytes = 0

    def add(self, values: Values, cluster: str, date_us: int, most_bytes: int) -> int:
        """Take an event. Returns by how much ``held_bytes`` grows.

        Returns 0, and takes nothing, if the body might exceed ``most_bytes``. Always takes the first event.
        """
        added_bytes = _ROW_MEMORY_BYTES
        clusters_bytes, longest_bytes = self._clusters_bytes, self._longest_bytes
        if is_new_cluster := cluster not in self._clusters:
            cluster_bytes = len(encode_basestring_ascii(cluster)) + 1
            clusters_bytes += cluster_bytes
            longest_bytes = max(longest_bytes, cluster_bytes)
            added_bytes += _CLUSTER_MEMORY_BYTES
        row_bytes, largest_bytes = self._row_bytes, self._largest_bytes
        own_bytes = len(values)
        varies: list[int] = []
        index = self._values.get(values)
        if index is None:
            texts = values.splitlines()
            if not self._rows:
                self._constants = dict(enumerate(texts))
                row_bytes = _ROW_BYTES - own_bytes
            for place, text in self._constants.items():
                if text != texts[place]:
                    varies.append(place)
                    row_bytes += len(text) + 1
            largest_bytes = max(largest_bytes, own_bytes)
            added_bytes += _VALUES_MEMORY_FACTOR * own_bytes + _VALUES_MEMORY_BYTES
        values_bytes = self._values_bytes + own_bytes
        # The earliest event stands at the head of the body, whole. Any event may turn out to be the earliest.
        head_bytes = self._fixed_bytes + longest_bytes + largest_bytes
        size_bytes = head_bytes + clusters_bytes + values_bytes + row_bytes * (len(self._rows) + 1)
        if size_bytes > most_bytes and self._rows:
            return 0
        if is_new_cluster:
            self._clusters.add(cluster)
            self._clusters_bytes, self._longest_bytes = clusters_bytes, longest_bytes
        if index is None:
            index = self._values[values] = len(self._values)
            self._row_bytes, self._largest_bytes = row_bytes, largest_bytes
        for place in varies:
            del self._constants[place]
        self._values_bytes = values_bytes
        self.held_bytes += added_bytes
        self._rows.append((date_us, cluster, index))
        return added_bytes

    def body(self) -> bytes:
        """The events as one request body; the same one in whatever order they were taken."""
        names, values = self._key.names, list(self._values)
        self._rows.sort(key=itemgetter(0))
        if len({date_us for date_us, _, _ in self._rows}) < len(self._rows):  # rare, and slow for many rows
            self._rows.sort(key=lambda row: (row[0], row[1], values[row[2]]))
        base_us, cluster, index = self._rows[0]
        details = dict(zip(names, map(json.loads, values[index].splitlines()), strict=True))
        whole = self._whole(details, cluster, base_us)
        if len(self._rows) == 1:
            return dumps(whole).encode()
        clusters: dict[str, int] = {}
        varying = sorted((name, place) for place, name in enumerate(names) if place not in self._constants)
        # Rows are joined as text, because ten thousands of rows as lists take many times the memory.
        texts = ["".join(["," + own[place] for _, place in varying]) for own in map(str.splitlines, values)]
        rows = ",".join(
            [
                f"[{clusters.setdefault(cluster, len(clusters))},{date_us - base_us}{texts[index]}]"
                for date_us, cluster, index in self._rows
            ]
        )
        burst = {
            "count": len(self._rows),
            "clusters": list(clusters),
            "varying": [name for name, _ in varying],
            "events": [],
        }
        head = dumps({**whole, "burst": burst})
        return f"{head.removesuffix(']}}')}{rows}]}}}}".encode()

    def _whole(self, details: dict[str, Any], cluster: str, date_us: int) -> dict[str, Any]:
        context = {**self._key.context, "cluster": cluster, "date": date_us}
        return to_wire({"event_type": self._key.event_type, "event_details": details, "context": context})
