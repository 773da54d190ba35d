"""``flwr-telemetryd`` and ``python -m flwr_telemetryd``: the entry point of the daemon."""

import sys

from .sidecar.process import main

if __name__ == "__main__":
    sys.exit(main())
