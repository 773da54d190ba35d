"""Lets this process report through flwr-telemetry; then runs the sitecustomize that Python would have run.

`flwr-telemetry run` puts the directory of this file in front of PYTHONPATH, so every Python process of the
run executes it at its start. Many of them never import Flower. Some run an interpreter without
flwr-telemetry, or one too old for it. Hence this file must never keep a process from starting, and must never
hide a sitecustomize further down the path. It must be valid in every Python: no annotations, no f-strings.
"""

import os
import sys

try:
    from flwr_telemetry import flower

    flower.install()
except Exception:  # noqa: BLE001, S110
    pass  # Not installed here, or not for this interpreter: the process goes on without it.

# The next sitecustomize on the path takes the place of this module. If there is none, or if it fails, the
# error goes to ``site``, which imported this module, handles the error and drops the module.
_here = os.path.dirname(__file__)
if __name__ == "sitecustomize" and _here in sys.path:
    _place = sys.path.index(_here)
    _this = sys.modules.pop(__name__)  # Kept, because Python 2 would clear a module without references.
    # Without this directory while Python searches, or it would find this file again.
    sys.path[:] = [_entry for _entry in sys.path if _entry != _here]
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    finally:
        # Back again, because a program may build the path of its children from its own.
        if _here not in sys.path:
            sys.path.insert(_place, _here)
