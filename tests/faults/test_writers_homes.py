"""A spool, a telemetry directory or a whole home that is taken away or replaced under a running process."""

import pytest

from tests.support import homes, records, wire

LEVELS = ["spool", "host", "telemetry", "home"]


def place(home, level):
    """Give the directory that is meant."""
    return home if level == "home" else getattr(homes, level)(home)


# What happens to the directory `place`; `aside` is free.
HAPPENINGS = {
    "removed": "shutil.rmtree(place)",
    "moved away": "os.rename(place, aside)",
    "replaced by an empty one": "os.rename(place, aside)\nos.mkdir(place, 0o700)",
    "replaced by a copy": "os.rename(place, aside)\nshutil.copytree(aside, place)",
}
WORKLOAD = """
import shutil
place, aside = sys.argv[1:]
told = [outcome(event("PING", {"n": i})) for i in range(2)]
HAPPENS
told += [outcome(event("PING", {"n": i})) for i in range(2, 5)]
print(json.dumps(told))
"""


@pytest.mark.parametrize("happening", HAPPENINGS)
@pytest.mark.parametrize("level", LEVELS)
def test_a_directory_that_goes(zygote, home, tmp_path, level, happening):
    """The next event is in the spool that has the name now, and none is in two places or in none."""
    aside = tmp_path / "aside"
    code = WORKLOAD.replace("HAPPENS", HAPPENINGS[happening])
    done = zygote.workload(home, code, arguments=[str(place(home, level)), str(aside)])
    assert done.stdout == '["spooled", "spooled", "spooled", "spooled", "spooled"]\n'
    here = wire.serials(homes.spooled(home))
    gone = [
        record["event_details"]["n"]
        for path in sorted(aside.rglob("events.msgpack"))
        for record in records.decode(path.read_bytes())
    ]
    assert here == ([0, 1, 2, 3, 4] if happening.endswith("copy") else [2, 3, 4])
    assert gone == ([] if happening == "removed" else [0, 1])
    for directory in (homes.telemetry(home), homes.host(home), homes.spool(home)):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_a_home_that_comes_back_is_the_home(zygote, home, tmp_path):
    """A home that was away for some events, and is put back, has those of before and of after."""
    code = WORKLOAD.replace("HAPPENS", "os.rename(place, aside)").replace(
        "print(",
        "shutil.rmtree(place)\nos.rename(aside, place)\n"
        "told.append(outcome(event('PING', {'n': 9})))\nprint(",
    )
    told = zygote.answers(home, code, arguments=[str(home), str(tmp_path / "aside")])
    assert told == ["spooled"] * 6
    assert wire.serials(homes.spooled(home)) == [0, 1, 9]
