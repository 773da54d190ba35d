"""Events by ours or by a peer: ``python contenders.py NAME ORIGIN CALLS [MODE [PAUSE_S]]``.

It reports so many events to the collector at ORIGIN, waits for their delivery as the documentation of the
library says, and prints the time of each call as JSON.

- ``herd``: prints a line and waits for a line of input before the calls that count.
- ``many``: forks one process for each two events; all report when all have started.
- ``alone``: has loaded Flower before the first call, if that is there. Each second event is the end of a
  workload, PAUSE_S later. It prints as ``before_s`` its processor time so far. With no events it then ends.
- ``apart``: eight such processes, each with a share of the events.
- ``folded``: one process reports for all workloads, each with its own IDs. It prints all its processor time.

It runs in the environments of the peers, so its module level imports only the standard library. Each function
below imports its library, and gives ``begin(origin)``, which gives two functions: one reports an event with
these details, the other ends the library.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

DETAILS = {"backend": "ray", "num-supernodes": 10}
PROCESSES = 8
LOADED = "import sys, flwr_telemetry; flwr_telemetry.event('PING'); print(*sys.modules)"


def ours():
    import flwr_telemetry.emit  # noqa: F401 - so that a fork has it

    def begin(_origin):
        from flwr_telemetry import event

        def emit(details):
            end = "LEAVE" if "success" in details else "ENTER"
            event(f"FLWR_SIMULATION_RUN_{end}", details)

        return emit, lambda: None

    if "many" in sys.argv:  # the forks need not import what an event imports
        environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_TELEMETRY_LOGGING": "1"}
        command = [sys.executable, "-c", LOADED]
        for name in subprocess.check_output(command, env=environment, text=True).split():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    return begin


def flower():
    """Flower's own telemetry, with another address."""
    try:
        from flwr.supercore import telemetry
    except ImportError:
        from flwr.common import telemetry

    def begin(origin):
        telemetry.TELEMETRY_EVENTS_URL = f"{origin}/api/v1/event"
        futures = []
        types = telemetry.EventType
        enter, leave = (
            getattr(types, f"FLWR_SIMULATION_RUN_{end}", types.PING) for end in ("ENTER", "LEAVE")
        )

        def emit(details):
            futures.append(telemetry.event(leave if "success" in details else enter, details))

        return emit, lambda: [future.result(timeout=120) for future in futures]

    return begin


def posthog():
    from posthog import Posthog

    def begin(origin):
        client = Posthog("phc_benchmark", host=origin)

        def emit(details):
            client.capture("PING", distinct_id="benchmark", properties=details)

        return emit, client.shutdown

    return begin


def otlp():
    """Log records of OpenTelemetry, exported over OTLP/HTTP in batches."""
    from opentelemetry._logs import SeverityNumber
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    def begin(origin):
        provider, exporter = LoggerProvider(), OTLPLogExporter(endpoint=f"{origin}/v1/logs")
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        logger = provider.get_logger("benchmark")

        def emit(details):
            logger.emit(severity_number=SeverityNumber.INFO, event_name="PING", attributes=details)

        return emit, provider.shutdown

    return begin


def iterative():
    """It starts a Python for each event, and does not wait for it."""
    from iterative_telemetry import IterativeTelemetryLogger

    def begin(origin):
        logger = IterativeTelemetryLogger("benchmark", "1.0", url=f"{origin}/api/v1/s2s/event")
        return lambda details: logger.send_event("cli", "PING", **details), lambda: None

    return begin


def glean():
    """All events are one ping, which it uploads before the end."""
    from glean import Configuration, Glean, load_metrics, load_pings

    loads = ((load_pings, "pings"), (load_metrics, "metrics"))

    def begin(origin):
        Glean.initialize(
            application_id="benchmark",
            application_version="1.0",
            upload_enabled=True,
            data_dir=Path(os.environ["HOME"]) / "glean",
            configuration=Configuration(server_endpoint=origin),
        )
        sent, metrics = (load(Path(__file__).with_name(f"glean_{name}.yaml")) for load, name in loads)
        ping, extra = metrics.benchmark.ping, metrics.benchmark.PingExtra

        def end():
            sent.benchmark.submit()
            Glean.shutdown()

        return lambda details: ping.record(extra(details=json.dumps(details))), end

    return begin


def calls_ns(begin, origin, calls, *, herd):
    """Report so many events; the nanoseconds of each call but the first, which is another figure."""
    emit, end = begin(origin)
    if calls:
        emit(DETAILS)
    if herd:
        print("here", flush=True)
        sys.stdin.readline()
    times, clock = [], time.perf_counter_ns
    for number in range(calls - 1):
        details = {**DETAILS, "round": number % 10}
        before = clock()
        emit(details)
        times.append(clock() - before)
    end()
    return times


def many(begin, origin, workloads):
    """Report two events from each of so many processes, which start together."""
    waited_for, kept_open = os.pipe()
    for _ in range(workloads):
        if os.fork() == 0:
            os.close(kept_open)
            os.read(waited_for, 1)  # until the parent has closed the other end
            emit, end = begin(origin)
            run = {**DETAILS, "run-id-hash": os.urandom(32).hex()}
            emit(run)
            emit({**run, "success": True})
            end()
            os._exit(0)
    os.close(kept_open)
    for _ in range(workloads):
        os.wait()


def alone(begin, origin, calls, pause_s):
    """Report so many events of one workload after the other, each with its two events."""
    emit, end = begin(origin)
    for number in range(calls):
        if number % 2:
            time.sleep(pause_s)
        emit({**DETAILS, "success": True} if number % 2 else DETAILS)
    end()


def folded(begin, origin, calls):
    """Report the two events of so many workloads, with the IDs that tell them apart."""
    emit, end = begin(origin)
    for _ in range(calls // 2):
        run = {**DETAILS, "run-id-hash": os.urandom(32).hex(), "cluster": str(uuid.uuid4())}
        emit(run)
        emit({**run, "success": True})
    end()
    return time.process_time()


def apart(calls, words):
    """Run one process for each share of the events, all at once."""
    shares = [len(range(first, calls, PROCESSES)) for first in range(PROCESSES)]
    command = [sys.executable, __file__, *words]
    running = [subprocess.Popen([*command, str(share), "alone"]) for share in shares]
    if any(one.wait() for one in running):
        raise SystemExit(1)


def main(name, origin, calls, mode="", pause_s="0"):
    if mode == "apart":
        apart(int(calls), [name, origin])
        return
    if mode == "alone":
        for module in ("flwr.supercore.telemetry", "flwr.common.telemetry"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
                break
        print(json.dumps({"before_s": time.process_time()}), flush=True)
        if not int(calls):
            return
    begin = {one.__name__: one for one in (ours, flower, posthog, otlp, iterative, glean)}[name]()
    times = []
    if mode == "many":
        times = many(begin, origin, int(calls) // 2)
    elif mode == "folded":
        print(json.dumps({"busy_s": folded(begin, origin, int(calls))}), flush=True)
        return
    elif mode == "alone":
        alone(begin, origin, int(calls), float(pause_s))
    else:
        times = calls_ns(begin, origin, int(calls), herd=mode == "herd")
    print(json.dumps({"calls_ns": times}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
