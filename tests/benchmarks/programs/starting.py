"""Import and first event of a process: ``python starting.py bare|flwr [floor]``; it prints milliseconds.

With ``floor``: an import of a loaded module, an append of the same length to a new file, and the import of
what the first event imports.
"""

import json
import os
import sys
import time

CLOCK = time.perf_counter
RECORD = b"x" * 520


def ours():
    begin = CLOCK()
    from flwr_telemetry import event

    imported = CLOCK()
    future = event("PING", {"backend": "ray", "num-supernodes": 10})
    done = CLOCK()
    assert future.result() == "spooled"
    return {"import_ms": 1e3 * (imported - begin), "first_ms": 1e3 * (done - imported)}


def floors():
    begin = CLOCK()
    from json import dumps  # noqa: F401

    imported = CLOCK()
    path = os.path.join(os.environ["HOME"], f"bare-{os.getpid()}")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, RECORD)
    os.close(descriptor)
    appended = CLOCK()
    import flwr_telemetry.emit

    loaded = CLOCK()
    import flwr_telemetry.emitter  # noqa: F401

    moments = {
        "import_ms": (begin, imported),
        "append_ms": (imported, appended),
        "load_ms": (loaded, CLOCK()),
    }
    return {name: 1e3 * (end - start) for name, (start, end) in moments.items()}


if sys.argv[1] == "flwr":
    import flwr.simulation
    import flwr.supercore.telemetry  # noqa: F401
print(json.dumps(floors() if sys.argv[2:] == ["floor"] else ours()))
