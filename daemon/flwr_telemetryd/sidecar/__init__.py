"""One run of the daemon: when to seal, adopt, deliver, sleep and end.

In:    the home of a user, and the settings in its files.
Out:   nothing that stays in memory; every result is a file of the home.
Owns:  ``<host>/sidecar.json``, ``<host>/sidecar.log`` and ``telemetry/service-<host>.json``.
Never: reads the environment to judge consent, or makes a request or a file after an opt-out.

``process.py`` sets up the process, ``sidecar/loop.py`` is one pass after another, ``sidecar/schedule.py``
holds the pure decisions, ``sidecar/consent.py`` checks consent before each request and each write.
"""

__all__ = ["process"]
