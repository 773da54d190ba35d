"""A site's own ``sitecustomize``, to which ours has to chain: it writes down who goes to the network.

By an audit hook, which sees what ``urllib`` and ``socket`` are about to do, whoever asks, and which
nothing can take away again. No process that has loaded Flower gets off this machine: the test needs no
network, and nobody is told anything. (Ray's own processes are left alone.) Each start of a process and
each refusal is one JSON line in ``$TRAP_FILE``.
"""

import os
import sys

_FLOWER = {"flwr.supercore.telemetry", "flwr.common.telemetry"}


def _trap() -> None:
    import atexit
    import json
    import threading

    descriptor = os.open(os.environ["TRAP_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(kind: str, target: object, body: str | None = None) -> None:
        line = {"kind": kind, "target": str(target), "body": body, "argv": sys.orig_argv}
        os.write(descriptor, json.dumps(line).encode() + b"\n")

    def refuse(kind: str, target: object, body: str | None = None) -> None:
        note(kind, target, body)
        message = f"the test lets nobody reach {target}"
        raise ConnectionRefusedError(message)

    def stays_here(host: object) -> bool:
        text = host.decode() if isinstance(host, bytes) else str(host or "localhost")
        return text.startswith("127.") or text in {"::1", "localhost"}

    def audit(name: str, arguments: tuple[object, ...]) -> None:
        if not name.startswith(("socket.", "urllib.")) or _FLOWER.isdisjoint(sys.modules):
            return
        if name == "urllib.Request":
            url, data = arguments[:2]
            refuse("request", url, data.decode() if isinstance(data, bytes) else None)
        elif name == "socket.getaddrinfo" and not stays_here(arguments[0]):
            refuse("lookup", arguments[0])
        elif name == "socket.connect" and isinstance(arguments[1], tuple) and not stays_here(arguments[1][0]):
            refuse("connect", arguments[1])

    def wait_for_flower() -> None:
        # Flower gives each event a daemon thread, and would lose the last event of a run.
        for thread in threading.enumerate():
            if thread.daemon and thread.name.endswith("(run)"):
                thread.join()

    note("start", os.getpid())
    sys.addaudithook(audit)
    atexit.register(wait_for_flower)


_trap()
