"""The other end: receives bodies over HTTP, counts each event once, deletes on request, and reports.

In:    bodies of Flower and of the sidecar. Out: their events again, answers about them, and a report.
Owns:  one database, SQLite or PostgreSQL.
Never: stores or logs the address of a client, or tells a figure of fewer than five sources.

- ``intake``: a request body becomes a ``Parcel``, or a refusal. Pure.
- ``schema``, ``database``: the tables; how a database is opened.
- ``store``: the transactions. ``writer``: the one thread that writes.
- ``app``, ``serve``: HTTP. ``__main__``: the command.
- ``questions``, ``page``: the report's figures, and their HTML.
"""
