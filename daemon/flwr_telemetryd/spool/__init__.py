"""The spool of a host: its directories, its locks, its segments and the records in them.

In:    the open segment, to which every Flower process of the host appends.
Out:   sealed segments, their records, and the damaged bytes between records.
Owns:  ``<host>/spool/sealed-*.msgpack``, ``<host>/damaged/`` and ``<host>/sidecar.lock``.
Never: decides when to seal, sends, or follows a link.

``directory`` lists the directories and checks their owner. ``locks`` has the lock of a host and the lock of a
segment. ``segments`` seals, names and reads segments. ``reader`` turns their bytes into records and damage.
``quarantine`` keeps damaged bytes and files.
"""

__all__ = ["directory", "locks", "quarantine", "reader", "segments"]
