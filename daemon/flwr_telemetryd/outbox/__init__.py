"""Segments become bodies; bodies wait, and are accepted, rejected, archived or dropped.

In:    sealed segments.
Out:   committed bodies for delivery, an archive of accepted bodies, and counts of what waits.
Owns:  ``<host>/work/``, ``<host>/outbox/``, ``<host>/sent/``, ``<host>/rejected/``, ``<host>/dropped``,
       ``gone.hosts/`` and ``telemetry/forgotten``.
Never: sends, decides when to send, or deletes an unsent event without counting it, opt-out and forget apart.

Way in: ``batch`` (take, write, commit), then ``discard`` (unlink its segments). Way out: ``queue`` settles a
``body``, by ``split``, ``archive`` and ``forgotten``. Views: ``backlog`` (whether and how much waits),
``contents`` (the files of each stage). Deletion: ``retention`` (caps), ``purge`` (opt-out). ``common`` keeps
the archives of hosts that are gone.
"""

__all__ = [
    "archive",
    "backlog",
    "batch",
    "body",
    "common",
    "contents",
    "discard",
    "durable",
    "forgotten",
    "purge",
    "queue",
    "retention",
    "split",
]
