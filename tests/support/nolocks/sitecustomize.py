"""File locks as some network file systems have them, for every process with this on its module path.

`TEST_LOCKS=pretended`: every lock succeeds at once and holds nobody off. `TEST_LOCKS=refused`: every lock
fails with ENOLCK.
"""

import errno
import fcntl
import os


def _pretend(_descriptor, _operation):
    """Grant every lock."""


def _refuse(_descriptor, _operation):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


_KINDS = {"pretended": _pretend, "refused": _refuse}
if kind := _KINDS.get(os.environ.get("TEST_LOCKS", "")):
    fcntl.flock = kind
