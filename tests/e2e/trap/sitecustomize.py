"""A witness: the ``sitecustomize`` of a site, to which ours must chain. It notes the events of a run.

Each line of JSON in ``$TRAP_FILE`` has one of these kinds:

- ``start``: a Python process began.
- ``reported``: Flower's code called its ``event``, which may be ours. The call is passed on.
- ``returned``: that call returned.
- ``refused``: a process that has loaded Flower tried to connect to another machine. An audit hook refused it.
"""

import functools
import importlib.util
import json
import os
import socket
import sys

_FLOWER = {"flwr.supercore.telemetry", "flwr.common.telemetry", "flwr_datasets.common.telemetry"}
_FILE = os.open(os.environ["TRAP_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _note(kind, **facts):
    line = {"kind": kind, "argv": sys.orig_argv, "pid": os.getpid(), **facts}
    os.write(_FILE, json.dumps(line).encode() + b"\n")


class _Witness:
    """Wraps ``event`` of Flower's telemetry module after its import."""

    def __init__(self):
        self._inside = False

    def find_spec(self, name, _path=None, _target=None):
        if self._inside or name not in _FLOWER:
            return None
        self._inside = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._inside = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (execute(module), _watch(module))[0]
        return spec


def _watch(module):
    own = module.event

    @functools.wraps(own)
    def event(event_type, event_details=None):
        what = {"event_type": str(event_type.value), "event_details": event_details or {}}
        _note("reported", **what)
        result = own(event_type, event_details)
        _note("returned", **what)
        return result

    module.event = event


def _stays_here(host):
    text = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    return text.startswith("127.") or text in {"::1", "localhost", "0.0.0.0"}


def _audit(name, arguments):
    if name == "socket.getaddrinfo":
        host = arguments[0]
    elif name == "socket.connect" and isinstance(arguments[1], tuple):
        if arguments[0].type == socket.SOCK_DGRAM:
            return  # sends nothing: Ray so finds the address of this machine
        host = arguments[1][0]
    else:
        return
    if _stays_here(host) or _FLOWER.isdisjoint(sys.modules):
        return
    _note("refused", target=str(host))
    raise ConnectionRefusedError(f"the test lets no process reach {host}")


_note("start")
sys.meta_path.insert(0, _Witness())
sys.addaudithook(_audit)
