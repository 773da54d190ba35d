"""Read-only views of a home, for people and for programs.

In:    the files of a home, and this process's variables.
Out:   status, events as they are stored, problems in plain words, the fields, a page, and deletion requests.
Owns:  nothing on the disk.
Never: writes, deletes or sends. It takes the sidecar's lock for a moment to see if it is free. On a shared
       home, ``file_server`` forks a child that asks the server.

``status`` counts, and ``follow`` reads event by event; ``filters`` chooses. ``problems`` and ``flower`` find
what is wrong. ``page`` puts ``sections`` together: ``timeline`` finds the workloads, ``drawing`` draws them,
and ``markup`` escapes. ``words`` has sentences and dates, for the page and for the command.
"""

__all__ = [
    "deletion_request",
    "fields",
    "file_server",
    "filters",
    "flower",
    "follow",
    "page",
    "problems",
    "status",
    "words",
]
