"""The spool of a host: its directories, its locks, its segments and the records in them.

In:    the open segment, to which every Flower process of the host appends.
Out:   sealed segments, their records, and the damaged bytes between records.
Owns:  ``<host>/spool/sealed-*.msgpack``, ``<host>/damaged/`` and ``<host>/sidecar.lock``.
Never: decides when to seal, sends, or follows a link.

``directory`` lists the directories and checks their owner. ``locks`` has the lock of a host and the lock of a
segment. ``segments`` seals, names and reads segments. ``reader`` turns their bytes into records and damage.
``quarantine`` keeps damaged bytes and files.
"""

# On a shared home a read may come from a cache: attributes and names for a minute, pages until the next open.
# These reads of ``spool`` and ``sidecar`` decide whether something is deleted or counted. Each is followed by
# what makes the client ask the server, and by its test. No decision is made by a lock.
#
# - Size of an open segment that is sealed: the new open. The rename itself loses nothing.
#   (``test_segments.py``)
# - Times of a sealed segment that was not written whole, before it is taken: a new open, and ``SETTLE_S``
#   without a change. (``test_what_was_sealed_on_a_shared_home_is_left_alone_for_a_moment``)
# - Size of such a segment before it is unlinked: a mark, then a new open; behind the unlink, its pages are
#   dropped and its tail is read. (``test_a_size_from_a_cache_deletes_no_event``,
#   ``test_a_writer_at_the_file_server_is_stopped_while_its_segment_is_adopted``)
# - Name of a whole segment: needs nothing, because its file never changes.
#   (``test_a_whole_segment_is_deleted_unseen``)
# - Missing name after a rename that failed: the directory is listed, because the answer to the first try may
#   be lost. (``test_a_rename_that_was_repeated_is_found_past_the_cache_of_names``)
# - Listing of a directory: an old name costs a rename that fails, a missing one waits for the next pass.
#   (``test_services_adopt_what_a_node_writes``)
# - Age of another host's spool: old times only bring an adoption forward, which the entries above make safe.
#   (the same test)
# - ``sidecar.json``, the claim to a host: a new open. Two sidecars with one claim share the work by renames.
#   (``test_where_nothing_is_locked_a_host_belongs_to_the_last_claim``)

__all__ = ["directory", "locks", "quarantine", "reader", "segments"]
