"""``flwr-telemetry relay FILE``: delivers a file that hosts without a network have filled.

In:    a file of JSON lines, each one a request body.
Out:   requests to the collector of this home, copies in its ``sent/`` and ``rejected/``, and a result.
Owns:  ``<file>.relayed``, which holds the offset up to which the file was relayed.
Never: changes the file, writes into ``outbox/``, or sends a line that is no intact body.
"""

__all__ = ["offset", "relay"]
