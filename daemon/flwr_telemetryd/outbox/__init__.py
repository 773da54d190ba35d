"""Segments become bodies; bodies wait, and are accepted, rejected, archived or dropped.

In:    sealed segments.
Out:   committed bodies for delivery, an archive of accepted bodies, and counts of what waits.
Owns:  ``<host>/work/``, ``<host>/outbox/``, ``<host>/sent/``, ``<host>/rejected/``, ``<host>/dropped`` and
       ``telemetry/forgotten``.
Never: sends, decides when to send, or deletes an unsent body without counting it.

A batch goes through ``outbox/batch.py`` (take, write, commit) and ``discard.py`` (unlink its segments).
``queue.py`` settles its bodies, one by one. ``outbox/retention.py`` keeps the caps; ``outbox/purge.py``
deletes after an opt-out.
"""

__all__ = [
    "archive",
    "backlog",
    "batch",
    "body",
    "contents",
    "discard",
    "forgotten",
    "purge",
    "queue",
    "retention",
    "split",
]
