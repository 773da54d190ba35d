"""A real shared home: three kernels, one of which serves files to the other two.

``python -m tests.nfs --help`` tells how to use it. ``images`` makes the disks. ``guests`` is one
machine, ``rig`` the three of them with their cables and mounts. ``scenes`` and ``troubles`` are what is
tried, and ``verdict`` counts what arrived. ``guest/`` is what runs inside the machines.
"""
