"""Let this process report through flwr-telemetry; then do what Python would have done without us.

`flwr-telemetry run` puts the directory of this file in front of PYTHONPATH, so every Python process
of the run executes it at its start, whether it has to do with Flower or not, and with whatever
interpreter: one without flwr-telemetry, or one too old for it. Hence this file must never keep a
process from starting, must never hide a sitecustomize further down the path, and must stay readable
to every Python (no annotations, no f-strings).
"""

import os
import sys

try:
    from flwr_telemetry import flower

    flower.install()
except Exception:  # noqa: BLE001, S110
    pass  # Not there, or not for this interpreter: the process runs on without us.

# The next sitecustomize on the path takes our place. Where there is none, or where it fails, the error
# goes to whoever imported us, which is ``site``: it knows what to do, and forgets us.
_here = os.path.dirname(__file__)
if __name__ == "sitecustomize" and _here in sys.path:
    _place = sys.path.index(_here)
    _this = sys.modules.pop(__name__)  # Kept, for a Python 2 would clear it under our feet.
    # Without us while Python looks, or it would find us again.
    sys.path[:] = [_entry for _entry in sys.path if _entry != _here]
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    finally:
        # Back again: a program may make the path of its children from its own.
        if _here not in sys.path:
            sys.path.insert(_place, _here)
