"""Read-only views of a home, for people and for programs.

In:    the files of a home, and this process's variables.
Out:   status, events as they are stored, problems in plain words, and the table of fields.
Owns:  nothing on the disk.
Never: writes, deletes, sends or starts a process. It takes the sidecar's lock for a moment to see if it is
free.
"""

__all__ = [
    "fields",
    "filters",
    "flower",
    "follow",
    "page",
    "problems",
    "request",
    "server",
    "status",
    "words",
]
