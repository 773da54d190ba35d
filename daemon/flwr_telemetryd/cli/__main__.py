"""``python -m flwr_telemetryd.cli``: the same as ``flwr-telemetry``."""

from . import main

if __name__ == "__main__":
    main()
