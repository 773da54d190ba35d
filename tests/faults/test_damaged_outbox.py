"""Damage in the outbox: a file that is no body is never sent, but quarantined, and blocks no other."""

import os

import pytest

from tests.faults.scene import body_of, committed, place
from tests.support import homes, records, wire

EVENTS = records.series(9)
BEFORE, AFTER = body_of(EVENTS[7]), body_of(EVENTS[8])
PLAIN = body_of(EVENTS[0])
BURST = body_of(*EVENTS[:3])
BATCH = "1795000000000000005-0a1b2c3d"


def neighbours(home):
    committed(home, BEFORE, batch=BATCH)
    committed(home, AFTER, batch="1795000000000000009-0a1b2c3d")
    homes.put(home, EVENTS[6:7])


def deliver(zygote, home, collector):
    """Deliver what can be; give the bodies that came besides the intact ones."""
    assert zygote.once(home).returncode == 0
    arrived = list(collector.accepted.values())
    for body in (BEFORE, AFTER):
        arrived.remove(body)
    (spooled,) = [body for body in arrived if wire.expand(body)[0]["event_details"]["n"] == 6]
    arrived.remove(spooled)
    return arrived


def check_set_aside(zygote, home, *names):
    """Make sure that these files are kept for inspection, and counted."""
    assert {path.name for path in homes.host(home).glob("damaged/*")} == set(names)
    assert zygote.status(home)["totals"]["counters"]["damaged"] == len(names)
    assert homes.unsent_files(home) == []


# `test_body.py` of the outbox has more of what is no event.
NO_BODY = {
    "empty": b"",
    "cut": PLAIN[: len(PLAIN) // 2],
    "zeros": bytes(len(PLAIN)),
    "garbage": bytes(range(256)) * 20,
    "doubled": PLAIN + PLAIN,
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "a deep event": PLAIN.replace(b'"n":0', b'"n":' + b"[" * 50_000 + b"]" * 50_000),
    "a long number": PLAIN.replace(b'"n":0', b'"n":' + b"9" * 50_000),
    "broken UTF-8": PLAIN.replace(b"PING", b"\xff\xfe\xc0\x80"),
    "two MiB": b'{"x":"' + b"x" * 2**21 + b'"}',
    "a burst cut": BURST[:-3],
}
FLIPPED = {
    "a detail": (b'"n":0', b'"n":1'),
    "the count": (b'"count":3', b'"count":2'),
    "a row": (b"[0,1000,1]", b"[0,1001,1]"),
    "a name": (b"cpu_count", b"cpu_bount"),
    "the type": (b"PING", b"PINF"),
    "a date": (b"2026", b"2027"),
    "the word burst": (b'"burst"', b'"curst"'),
}


KEY, BURST_KEY = wire.key_of(PLAIN), wire.key_of(BURST)
NO_KEYS = {"word": "hello", "long": "x" * 200, "upper": KEY.upper(), "lines": "a\nb", "→": "→", "empty": ""}
# The name of a file in a batch, and its bytes: each is no body.
FILES = {
    **{name: (f"{KEY}.json", data) for name, data in NO_BODY.items()},
    **{
        f"a burst, bent: {name}": (f"{BURST_KEY}.json", BURST.replace(*bend))
        for name, bend in FLIPPED.items()
    },
    **{f"a name that is no key: {name}": (f"{key}.json", PLAIN) for name, key in NO_KEYS.items()},
    **{
        f"a split file: {name}": (f"{BURST_KEY}.split", NO_BODY[name])
        for name in ("empty", "garbage", "deep", "two MiB", "a burst cut")
    },
    "a split file: plain": (f"{BURST_KEY}.split", PLAIN),
    "a split file: bent": (f"{BURST_KEY}.split", BURST.replace(*FLIPPED["a row"])),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_body(zygote, home, collector, name):
    """It is never sent, but quarantined and counted; all other bodies are delivered."""
    neighbours(home)
    file, data = FILES[name]
    place(home, f"outbox/{BATCH}/{file}", data)
    assert deliver(zygote, home, collector) == []
    check_set_aside(zygote, home, file)


@pytest.mark.parametrize("name", ["a detail", "a name", "the type", "a date"])
def test_a_plain_event_that_was_bent(zygote, home, collector, name):
    """Its name may be that of an event of a split burst: it is quarantined, or sent once."""
    neighbours(home)
    bent = PLAIN.replace(*FLIPPED[name])
    place(home, f"outbox/{BATCH}/{KEY}.json", bent)
    arrived = deliver(zygote, home, collector)
    if arrived:
        assert arrived == [collector.accepted[KEY]] == [bent]
    check_set_aside(zygote, home, *([] if arrived else [f"{KEY}.json"]))


def _directory(path):
    path.mkdir(mode=0o700)


def _full_directory(path):
    _directory(path)
    (path / "mine").write_bytes(b"mine")


def _link(path):
    target = path.parents[5] / "precious"
    target.write_bytes(PLAIN)
    path.symlink_to(target)


MAKERS = [_directory, _full_directory, _link, os.mkfifo]


@pytest.mark.parametrize("suffix", [".json", ".split"])
@pytest.mark.parametrize("make", MAKERS)
def test_what_is_no_file(zygote, home, collector, make, suffix):
    """A directory, a link or a FIFO under a body's name is not followed, and blocks no other body."""
    neighbours(home)
    make(homes.host(home) / f"outbox/{BATCH}/{KEY}{suffix}")
    assert deliver(zygote, home, collector) == []
    assert [path.name for path in homes.host(home).glob("damaged/*")] == [f"{KEY}{suffix}"]
    assert zygote.status(home)["totals"]["counters"]["damaged"] == 1


ODD_MARKS = [
    *(f"{name}.taken" for name in ("", "x", "x.-1", "x.1e5", "x.٣", ".sealed-1-a.msgpack.5")),
    *(f"sealed-1-a.msgpack{offset}.taken" for offset in ("", ".", ".0", f".{'9' * 20}", f".{'9' * 150}")),
]
in_each_room = pytest.mark.parametrize("room", [f"outbox/{BATCH}", f"work/{BATCH}.0123456789abcdef"])


@in_each_room
def test_marks_that_we_never_made(zygote, home, collector, room):
    """Segments' marks of odd forms, in the outbox or in an unfinished batch, block no event."""
    committed(home, AFTER)
    homes.put(home, EVENTS[6:7])
    for name in ODD_MARKS:
        place(home, f"{room}/{name}", records.encode(EVENTS[0]))
    for _ in range(2):  # what goes back to the spool is sent by the next
        zygote.once(home)
    assert set(wire.serials(collector.events())) - {0} == {6, 8}


@in_each_room
@pytest.mark.parametrize("make", MAKERS)
def test_a_mark_on_what_is_no_file(zygote, home, collector, make, room):
    """A link or FIFO in the place of a segment is not followed, and all other events are sent."""
    place(home, f"{room}/other.txt", b"")
    if room.startswith("outbox"):
        neighbours(home)
    make(homes.host(home) / room / "sealed-1795000000000000000-0a1b2c3d.msgpack.5.taken")
    homes.put(home, EVENTS[6:7])
    for _ in range(2):
        zygote.once(home)
    expected = [6, 7, 8] if room.startswith("outbox") else [6]
    assert wire.serials(collector.events()) == expected
