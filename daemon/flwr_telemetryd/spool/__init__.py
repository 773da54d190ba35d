"""The spool of a host: its directory, its locks and its segments.

In:    the open segment, to which every Flower process of the host appends.
Out:   sealed segments, the records in them, and the damaged bytes between records.
Owns:  ``<host>/spool/sealed-*.msgpack``, ``<host>/damaged/`` and ``<host>/sidecar.lock``.
Never: decides when to seal, deletes a segment, sends, or follows a link.

``spool/segments.py`` tells the names of segments and the races that sealing meets. ``directory.py`` lists
directories and checks that they are ours. ``spool/locks.py`` has every lock of the daemon.
"""

__all__ = ["directory", "locks", "quarantine", "reader", "segments"]
