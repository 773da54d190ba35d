"""Read-only views of a home, for people and for programs.

In:    the files of a home.
Out:   status, events as they are stored, problems in plain words, and the table of fields.
Owns:  nothing on the disk.
Never: writes, deletes, locks for longer than a moment, or sends.
"""

__all__ = ["fields", "filters", "follow", "problems", "status"]
