"""Events by Flower's own telemetry; only its address is another."""

import program

try:
    from flwr.supercore import telemetry
except ImportError:
    from flwr.common import telemetry


def begin(origin):
    telemetry.TELEMETRY_EVENTS_URL = f"{origin}/api/v1/event"
    futures = []
    types = telemetry.EventType
    enter, leave = (getattr(types, f"FLWR_SIMULATION_RUN_{end}", types.PING) for end in ("ENTER", "LEAVE"))

    def emit(details):
        futures.append(telemetry.event(leave if "success" in details else enter, details))

    def end():
        for future in futures:
            future.result(timeout=120)

    return emit, end


if __name__ == "__main__":
    program.main(begin)
