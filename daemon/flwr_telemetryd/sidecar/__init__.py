"""One run of the daemon: it seals, builds batches, adopts, delivers, sleeps and ends.

In:    the home of a user, and the settings in its files.
Out:   batches and bodies in the home, requests through ``delivery``, and an exit code.
Owns:  ``<host>/sidecar.json``, ``<host>/sidecar.log`` and ``telemetry/service-<host>.json``. It deletes
       ``<host>/start-errors.log``, which the emitter writes.
Never: reads the environment to judge consent, or makes a request or a file after an opt-out.

``process.py`` sets up the process, and ``loop.py`` makes one pass after another. ``schedule.py`` holds the
pure decisions, ``lifetime.py`` their memory, and ``waiting.py`` sleeps in between. ``consent.py`` checks
consent before each request and write. In a pass, ``batcher.py`` makes batches, ``adoption.py`` takes over
what other hosts left, and ``housekeeping.py`` keeps the caps and the heartbeat.
"""

__all__ = ["process"]
