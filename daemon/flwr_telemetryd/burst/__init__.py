"""Turns events into request bodies, and request bodies back into events.

In: the payloads of records, or decoded events, in any order. Out: bodies in JSON, each under 1 MiB. Several
similar events become one body, a *burst*; ``codec.expand`` gives back exactly the events that went in.

- ``codec``: a ``Coalescer`` makes bodies; ``events``, ``expand`` and ``count`` read them.
- ``grouping``: finds out which events may share a body, and their values in JSON.
- ``encoder``: holds the rows of one body, knows its size, and writes it.

This package owns no file. It never opens a file, reads a clock or uses the network. Its memory is bounded,
whatever a spool holds.
"""

__all__ = ["codec"]
