"""Events by iterative-telemetry, which starts a Python for each and does not wait for it."""

import program
from iterative_telemetry import IterativeTelemetryLogger


def begin(origin):
    logger = IterativeTelemetryLogger("benchmark", "1.0", url=f"{origin}/api/v1/s2s/event")
    return lambda details: logger.send_event("cli", "PING", **details), lambda: None


if __name__ == "__main__":
    program.main(begin)
