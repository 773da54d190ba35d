"""The messages to a service manager over a real socket; see sd_notify(3)."""

import os
import secrets
import socket
import sys

import pytest

from flwr_telemetryd.sidecar.sd_notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def server(request, tmp_path):
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("abstract sockets are Linux's")
    address = str(tmp_path / "notify") if request.param == "path" else f"@flwr-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("\0" + address[1:] if address.startswith("@") else address)
        bound.setblocking(False)
        yield address, bound


def received(bound):
    found = []
    while True:
        try:
            found.append(bound.recv(4096).decode())
        except BlockingIOError:
            return found


def test_the_watchdog_is_fed_four_times_in_its_interval(server, caplog):
    """A step that may take longer makes the interval longer. A missing manager is logged once."""
    (address, bound), now = server, [0.0]
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000000"}
    manager = ServiceManager(environ, monotonic=lambda: now[0])
    for _ in range(1000):
        manager.watchdog()
        now[0] += 0.25
    assert received(bound) == ["WATCHDOG=1"] * 10
    manager.extend_watchdog(50)
    manager.extend_watchdog(80)
    manager.extend_watchdog(60)
    assert received(bound) == ["WATCHDOG_USEC=160000000"]
    missing = ServiceManager({"NOTIFY_SOCKET": f"{address}-nobody"})
    missing.ready()
    missing.stopping()
    assert len(caplog.records) == 1


ASKED = {"WATCHDOG_USEC": "1000000"}
FED = [ASKED, {**ASKED, "WATCHDOG_PID": str(os.getpid())}]
NOT_FED = [
    {},
    {**ASKED, "WATCHDOG_PID": "1"},
    *({"WATCHDOG_USEC": x} for x in ("0", "soon", "9" * 400, "-5")),
]


@pytest.mark.parametrize("environ", [*FED, *NOT_FED])
def test_a_watchdog_of_another_process_is_not_fed(server, environ):
    address, bound = server
    ServiceManager({"NOTIFY_SOCKET": address, **environ}).watchdog()
    assert received(bound) == (["WATCHDOG=1"] if environ in FED else [])
