"""Actions that a person asks of a home: flush, switch on or off, forget, purge, relay, demo, service, doctor.

In:    a home, and the variables of the process that a person started.
Out:   a result object that the command line prints.
Owns:  ``telemetry/config.toml``, ``telemetry/forgetting``, the units of the service, and ``<file>.relayed``.
Never: prints, or works in the home of another user.

``switch`` and ``config_file`` write settings, and ``config`` explains them. ``forget`` deletes here,
``deletion`` asks the collector, and ``purge`` removes all. ``interpreter`` and ``superlink`` tell ``run``
which Flower a command reaches.
"""

__all__ = [
    "config",
    "config_file",
    "deletion",
    "demo",
    "doctor",
    "flush",
    "forget",
    "interpreter",
    "purge",
    "relay",
    "service",
    "superlink",
    "switch",
]
