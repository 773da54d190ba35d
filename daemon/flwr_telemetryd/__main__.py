"""``flwr-telemetryd`` and ``python -m flwr_telemetryd``: the entry point of the daemon."""

import gc
import sys

gc.disable()  # until ``process`` enables it: nothing that is loaded ever goes, and looking for it takes 5 ms
from .sidecar.process import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
