"""Where things lie in a home, and how tests put things there; by the letter of the design's section 2."""

import contextlib
import json
import os
import platform
import re
import shutil
import stat

from tests.support import records, wire

# Short times, so that a test that waits for something waits for little.
QUICK = {
    "burst_window_s": 0.1,
    "idle_exit_s": 0.5,
    "respawn_s": 0,
    "backoff_s": 0.05,
    "backoff_max_s": 0.2,
    "connect_timeout_s": 5,
    "request_deadline_s": 10,
}


WINDOWS = os.name == "nt"
IMPOSSIBLE = r"Q:\flwr-telemetry-cannot-be" if WINDOWS else "/proc/flwr-telemetry-cannot-be"
"""No directory can be made there."""


def has_mode(path, mode):
    """Whether a file has these permissions; Windows has none."""
    return WINDOWS or stat.S_IMODE(path.stat().st_mode) == mode


def host_name():
    return re.sub(r"[^A-Za-z0-9_-]", "_", platform.node())[:64]


def telemetry(home):
    return home / "telemetry"


def host(home, name=None):
    return telemetry(home) / (host_name() if name is None else name)


def spool(home):
    return host(home) / "spool"


def open_segment(home):
    return spool(home) / "events.msgpack"


def config_file(home):
    return telemetry(home) / "config.toml"


def _private_directories(path):
    if not path.exists():
        _private_directories(path.parent)
        path.mkdir()
        path.chmod(0o700)


def _write_private(path, data, home):
    """Write a file at once, whole, as 0600 in directories of 0700."""
    _private_directories(path.parent)
    draft = home.parent / f".draft-{path.name}"
    draft.write_bytes(data)
    draft.chmod(0o600)
    draft.replace(path)


def _toml(value):
    return json.dumps(value) if isinstance(value, (bool, str)) else repr(value)


def write_settings(home, text):
    _write_private(config_file(home), text.encode() if isinstance(text, str) else text, home)


def configure(home, url=None, **settings):
    """Write the user's settings file: short times, the collector's address, and what a test adds.

    The user was told of the metrics, so no process says it again.
    """
    chosen = {**QUICK, **({} if url is None else {"url": url}), **settings}
    write_settings(home, "".join(f"{name} = {_toml(value)}\n" for name, value in chosen.items()))
    _write_private(telemetry(home) / "noticed", b"", home)


def put_bytes(home, data, *, name="events.msgpack", host_of=None):
    path = host(home, host_of) / "spool" / name
    _write_private(path, data, home)
    return path


def put(home, payloads, **where):
    return put_bytes(home, b"".join(map(records.encode, payloads)), **where)


def age(path, seconds):
    """Make a file or directory look unmodified for so long."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - int(seconds * 1e9)))


def copy_tree(source, target):
    """Copy a directory. Wine ends a process that lets Windows copy a file, as `shutil.copy2` does."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)


def stable(view):
    """Give a view of a home; take it again where a file or directory vanished meanwhile."""
    for _ in range(1000):
        with contextlib.suppress(FileNotFoundError):
            return view()
    return view()


def find(directory, pattern):
    """Give the paths below a directory that match a pattern, in order, while sidecars work on them."""
    return stable(lambda: sorted(directory.glob(pattern)))


def segments(home):
    return [*find(spool(home), "sealed-*.msgpack"), *find(spool(home), "events.msgpack")]


def spooled(home):
    """Give the events in this host's spool; fails where a segment is damaged."""
    return [event for segment in segments(home) for event in records.decode(segment.read_bytes())]


def waiting(home):
    return find(host(home), "outbox/*/*.json")


def rejected(home):
    return find(host(home), "rejected/*.json")


def rejected_events(home):
    return wire.expand_all(path.read_bytes() for path in rejected(home))


def sent(home):
    days = find(host(home), "sent/????-??-??.jsonl")
    return [line for path in days for line in path.read_bytes().splitlines()]


def receipts(home):
    days = find(host(home), "sent/*.receipts.jsonl")
    return [json.loads(line) for path in days for line in path.read_bytes().splitlines()]


def unsent_files(home):
    """Give every file that still holds something unsent, of any host."""
    return [
        path
        for room in ("spool", "work", "outbox")
        for path in find(telemetry(home), f"*/{room}/**/*")
        if path.is_file() and path.name != "flush"
    ]


def tree(directory):
    """Give the paths below a directory, relative to it, with `/` on each system."""
    return sorted(path.relative_to(directory).as_posix() for path in find(directory, "**/*"))


def contents(directory):
    return stable(
        lambda: {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in find(directory, "**/*")
            if path.is_file()
        }
    )
