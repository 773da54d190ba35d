"""Read-only views of a home, for people and for programs.

In:    the files of a home, and this process's variables.
Out:   status, events as they are stored, problems in plain words, the table of fields, and deletion requests.
Owns:  nothing on the disk.
Never: writes, deletes or sends. It takes the sidecar's lock for a moment to see if it is free. On a shared
       home, ``file_server`` forks a child that asks the server.
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
