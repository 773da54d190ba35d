"""``flwr-telemetryd --once``; with ``floor`` only its imports: ``python once.py [floor]``.

At its end it prints its peak memory in KiB, its seconds of processor time, and how many modules
are loaded.
"""

import sys
import time
from pathlib import Path


def tell():
    import json

    status = Path("/proc/self/status").read_text()
    print(json.dumps([int(status.split("VmHWM:")[1].split()[0]), time.process_time(), len(sys.modules)]))


if sys.argv[1:] == ["floor"]:
    import filelock  # noqa: F401
    import msgpack  # noqa: F401
    import psutil  # noqa: F401
    import requests  # noqa: F401

    tell()
else:
    from flwr_telemetryd.sidecar.process import main

    code = main(["--once"])
    tell()
    raise SystemExit(code)
