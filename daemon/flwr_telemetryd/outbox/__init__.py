"""Segments become bodies; bodies wait, and are accepted, rejected, archived or dropped.

In:    sealed segments.
Out:   committed bodies for delivery, an archive of accepted bodies, and counts of what waits.
Owns:  ``<host>/work/``, ``<host>/outbox/``, ``<host>/sent/``, ``<host>/rejected/``, ``<host>/dropped``,
       ``gone.hosts/`` and ``telemetry/forgotten``.
Never: sends, decides when to send, or deletes an unsent event without counting it, opt-out and forget apart.

Way in: ``batch`` (take, write, commit), then ``discard`` (unlink its segments). Way out: ``queue`` settles a
``body``, by ``split``, ``pieces``, ``archive`` and ``forgotten``. Views: ``backlog`` (whether and how much
waits), ``contents`` (the files of each stage). Deletion: ``retention`` (caps), ``purge`` (opt-out).
``common`` keeps the archives of hosts that are gone.
"""

# As in ``spool``, these reads decide on a shared home whether something is deleted or counted:
#
# - Bytes of a segment in a batch: the open after the rename into the batch. (``test_batch.py``)
# - Presence of a body of the same key: ``O_CREAT | O_EXCL``, which the server decides. (``test_batch.py``)
# - Age of another owner's batch: times are at most a minute old, and ``FOREIGN_WORK_S`` is ten. The owner
#   that still lives loses the rename to ``outbox/``. (``test_batch.py``, race 10)
# - Names in another host's batch before it is adopted: one rename moves whatever is in it, and its unfinished
#   steps are finished here. (``test_an_outbox_is_adopted_byte_for_byte``)
# - Size and age of a file that a cap takes: the rename to this host's directory, then a new open.
#   (``test_two_machines_drop_a_file_once``)
# - End of a file that several machines append to: a claim, then a new open.
#   (``test_hosts_that_append_at_once_tear_no_line``)
# - Hashes of forgotten IDs: a new open for each batch and body; a new note is read back.
#   (``test_forgotten.py``)
# - Emptiness of a directory of a host that is gone: the server's answer to ``rmdir``.
#   (``test_housekeeping.py``)

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
    "pieces",
    "purge",
    "queue",
    "retention",
    "split",
]
