"""A home in full use, every file of design section 2 in its place, and what a neighbour may do to it."""

import functools
import json
import os
import shutil
import stat
import sys
from datetime import UTC, datetime

import pytest

from tests.support import homes, records, wire

SOURCE = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1"
SEALED = "sealed-1795000000000000000-0a1b2c3d.msgpack"
BATCH = "1795000000000000000-0a1b2c3d"

_NOBODY = 65534
_ENDLESS = os.makedev(1, 5)  # /dev/zero: what is written to it vanishes, and reading it never ends

DIRECTORIES = ("telemetry", "host", "spool", "work", "outbox", "sent", "rejected", "damaged")
# The numbers of the events of a scene, so that it tells by what arrives which of its stages were served.
IN_SEGMENT, IN_SEALED, IN_OUTBOX = 0, 1, 2
HELD_BY = {
    "events.msgpack": {IN_SEGMENT},
    "sealed": {IN_SEALED},
    "body": {IN_OUTBOX},
    "spool": {IN_SEGMENT, IN_SEALED},
    "outbox": {IN_OUTBOX},
    "host": {IN_SEGMENT, IN_SEALED, IN_OUTBOX},
    "telemetry": {IN_SEGMENT, IN_SEALED, IN_OUTBOX},
}


def body_of(*payloads):
    """Give the request body for one event, or for a burst of some that differ in `n` and date alone."""
    events = [
        {**event, "context": {**event["context"], "date": wire.iso(event["context"]["date"])}}
        for event in payloads
    ]
    first = events[0]
    if len(events) > 1:
        start_us = payloads[0]["context"]["date"]
        rows = [[0, event["context"]["date"] - start_us, event["event_details"]["n"]] for event in payloads]
        clusters = [first["context"]["cluster"]]
        first["burst"] = {"count": len(rows), "clusters": clusters, "varying": ["n"], "events": rows}
    return json.dumps(first, separators=(",", ":")).encode()


def place(home, where, data, *, host_of=None):
    path = homes.host(home, host_of) / where
    missing = [parent for parent in path.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir()
        parent.chmod(0o700)
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def unfinished(home, payloads, *, host_of=None):
    """Put a segment into a batch in the making that a dead sidecar left."""
    where = f"work/{BATCH}.0123456789abcdef/{SEALED}"
    return place(home, where, b"".join(map(records.encode, payloads)), host_of=host_of)


def committed(home, body, *, batch="1795000000000000001-0a1b2c3d"):
    return place(home, f"outbox/{batch}/{wire.key_of(body)}.json", body)


class Scene:
    """A home in full use with these settings; `elsewhere` is a directory that is none of ours."""

    def __init__(self, home, elsewhere, **settings):
        self.home = home
        self.host = homes.host(home)
        self.elsewhere = elsewhere
        elsewhere.mkdir()
        homes.configure(home, **settings)
        for name in DIRECTORIES[2:]:
            (self.host / name).mkdir(mode=0o700, parents=name == "spool", exist_ok=True)
        self.host.chmod(0o700)
        (home / "source").write_text(SOURCE)
        events = records.series(3)
        today = datetime.now(UTC)
        put = functools.partial(place, home)
        self.files = {
            "events.msgpack": put("spool/events.msgpack", records.encode(events[IN_SEGMENT])),
            "sealed": put(f"spool/{SEALED}", records.encode(events[IN_SEALED])),
            "flush": put("spool/flush", b""),
            "body": committed(home, body_of(events[IN_OUTBOX])),
            "sent": put(f"sent/{today:%Y-%m-%d}.jsonl", body_of(records.sample({"n": 7})) + b"\n"),
            "dropped": put("dropped", b"\0\0"),
            "not-before": put("not-before", b"0\n"),
            "sidecar.lock": put("sidecar.lock", b"started\n"),
            "sidecar.json": put("sidecar.json", b'{"pid": 1, "ended": "x", "damaged": 1}\n'),
            "sidecar.log": put("sidecar.log", b"2026-11-22T10:00:00Z 7 INFO ending\n"),
            "forgotten": put("../forgotten", b"0" * 64 + b"\n").resolve(),
            "heartbeat": put("../service-elsewhere.json", b'{"pid": 1}\n').resolve(),
        }
        homes.age(self.files["heartbeat"], 3600)

    def directory(self, name):
        return {"telemetry": homes.telemetry(self.home), "host": self.host}.get(name) or self.host / name


def photograph(place):
    """Give what can be seen of everything at and below a place: kind, mode, owner, time and content."""
    return {str(path.relative_to(place)): _look(path) for path in (place, *place.rglob("*"))}


def _look(path):
    status = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else status.st_rdev
    return status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ino, content


# What a neighbour may do, each to a path that is there. All that was there goes elsewhere or away.


def _link(path, elsewhere):
    path.rename(elsewhere / "precious")
    path.symlink_to(elsewhere / "precious")


def dangling_link(path, elsewhere):
    _remove(path)
    path.symlink_to(elsewhere / "not-there")


def _remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _fifo(path, _elsewhere):
    _remove(path)
    os.mkfifo(path, 0o600)


def _plain_file(path, _elsewhere):
    _remove(path)
    path.write_bytes(b"in the way\n")
    path.chmod(0o600)


def _directory(path, _elsewhere):
    _remove(path)
    path.mkdir(mode=0o700)
    (path / "mine").write_bytes(b"in the way\n")


def _device(path, _elsewhere):
    if sys.platform != "linux":
        pytest.skip("the numbers of devices are Linux's")
    _remove(path)
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, _ENDLESS)
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        pytest.skip(f"a device cannot be made here: {error.strerror}")


def _foreign(path, _elsewhere):
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(path, _NOBODY, _NOBODY)


def _open_to_all(path, _elsewhere):
    path.chmod(0o777 if path.is_dir() else 0o666)


_BOTH = {"link": _link, "FIFO": _fifo, "foreign": _foreign, "open to all": _open_to_all}
TO_DIRECTORIES = {**_BOTH, "plain file": _plain_file}
TO_FILES = {**_BOTH, "directory": _directory, "device": _device}
