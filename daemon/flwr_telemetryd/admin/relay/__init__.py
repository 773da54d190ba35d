"""``flwr-telemetry relay FILE``: delivers a file that machines without a network have filled.

In:    a file of JSON lines, each one a request body.
Out:   requests to the collector of this home, and copies in its ``sent/`` and ``rejected/``.
Owns:  ``<file>.relayed``, which holds how far the file was relayed.
Never: changes the file, or sends a line that is no intact body.
"""

__all__ = ["offset", "relay"]
