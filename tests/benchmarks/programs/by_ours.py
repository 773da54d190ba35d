"""Events by us; the settings are in the home."""

import program

import flwr_telemetry.emit  # noqa: F401 - so that a fork has it


def begin(_origin):
    from flwr_telemetry import event

    def emit(details):
        event("FLWR_SIMULATION_RUN_ENTER" if "success" not in details else "FLWR_SIMULATION_RUN_LEAVE", details)

    return emit, lambda: None


if __name__ == "__main__":
    program.main(begin)
