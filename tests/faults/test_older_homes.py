"""A home outlives the release that wrote it: an older release and this one take over from each other.

The older code is taken out of the history of this repository: every commit with the tag of a release, and
`COMMITS`. The rules for changes of a format are in the daemon's README.
"""

import subprocess

import pytest

from tests.mutations import ROOT
from tests.support import homes, processes, records

COMMITS = {
    "b88108c34857b9143d26800332cc0ac5b69d54fa": "the first sidecar",
    "88126a444f25abe1bf8e9125b0f5bd37d7ff5ecc": "before shared homes and bursts of equal events",
    "234222f7aed99a2ed4bb9f38a66434bebcacda01": "before a version named its commit",
}
_TAGS = subprocess.run(
    ["git", "-C", ROOT, "tag", "--list", "v*"], capture_output=True, text=True, check=False
).stdout.split()
RELEASES = [*COMMITS, *_TAGS]
THIS = {"PYTHONPATH": None}


def _environment(commit, directory):
    archive = ["git", "-C", ROOT, "archive", commit, "emitter", "daemon"]
    taken = subprocess.run(archive, capture_output=True, check=False)
    if taken.returncode:
        pytest.skip(f"this is no clone with its history: {taken.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", directory], input=taken.stdout, check=True)
    return {"PYTHONPATH": f"{directory}/emitter:{directory}/daemon"}


@pytest.fixture(scope="module", params=RELEASES, ids=lambda name: COMMITS.get(name, name))
def older(request, tmp_path_factory):
    """Give the environment in which Python finds the packages of an older release."""
    return _environment(request.param, tmp_path_factory.mktemp("older"))


def _write(home, collector, env):
    """Leave events wherever a release may leave them, each with a number of its own."""

    def emit(start_at, n=1):
        told = processes.emit(home, n, env={**env, **processes.NEVER}, start_at=start_at)
        assert told == ["spooled"] * n

    emit(0)
    processes.deliver(home, env)
    collector.answer_with(400)
    emit(1)  # is rejected
    processes.deliver(home, env)
    collector.answer_with(503)
    emit(2, 2)  # waits in the outbox
    assert processes.once(home, env).returncode == 1
    emit(4)  # belongs to a batch whose sidecar has died
    work = homes.host(home) / "work" / "1790000000000000000-0badcafe.deadbeef"
    work.mkdir(mode=0o700)
    homes.open_segment(home).rename(work / "sealed-1790000000000000000-0badcafe.msgpack")
    emit(5)  # is sealed
    homes.open_segment(home).rename(homes.spool(home) / "sealed-1790000000000000001-0badcafe.msgpack")
    emit(6)


def _numbers(events):
    return sorted(event["event_details"].get("n", -1) for event in events)


@pytest.mark.heavy
@pytest.mark.parametrize("is_upgrade", [True, False], ids=["upgrade", "downgrade"])
def test_one_release_delivers_what_the_other_left(home, collector, older, is_upgrade):
    """Once each. Archives and refused bodies stay, and a process of the other release goes on reporting."""
    first, second = (older, THIS) if is_upgrade else (THIS, older)
    homes.configure(home, collector.url)
    _write(home, collector, first)
    settled = homes.sent(home), homes.rejected(home)
    with processes.reporter(home, {**first, **processes.NEVER}) as emit_one:
        assert emit_one() == "spooled"
        processes.deliver(home, second, times=3)
        assert emit_one() == "spooled"
    processes.deliver(home, second, times=3)
    assert _numbers(collector.events()) == [-1, -1, 0, 2, 3, 4, 5, 6]
    assert homes.unsent_files(home) == []
    assert homes.find(homes.host(home), "damaged/*") == []
    assert homes.sent(home)[: len(settled[0])] == settled[0]
    assert homes.rejected(home) == settled[1]
    assert len(homes.rejected_events(home)) == 1


@pytest.mark.heavy
@pytest.mark.parametrize("is_upgrade", [True, False], ids=["upgrade", "downgrade"])
def test_a_sidecar_that_runs_serves_the_other_release(home, collector, older, is_upgrade):
    """It hears of the other's events and of its request for delivery, and no second sidecar is started."""
    first, second = (older, THIS) if is_upgrade else (THIS, older)
    homes.configure(home, collector.url, idle_exit_s=60)
    assert processes.emit(home, env={**first, **processes.NEVER}) == ["spooled"]
    with processes.start(home, ["-m", "flwr_telemetryd"], first) as child:
        try:
            running = processes.running_sidecar(home)
            assert processes.emit(home, 3, env=second, start_at=1) == ["spooled"] * 3
            assert processes.flush(home, 30, env=second)
            assert _numbers(collector.events()) == [0, 1, 2, 3]
            assert processes.sidecars(home) == [running]
        finally:
            child.terminate()


@pytest.mark.heavy
def test_a_setting_of_this_release_stops_an_older_one(home, collector, older):
    """It sends nothing and deletes nothing, because it cannot know what the setting asks for."""
    homes.configure(home, collector.url, a_setting_of_tomorrow=True)
    homes.put(home, records.series(3))
    before = homes.contents(home)
    assert processes.once(home, older).returncode == 3
    assert {path: data for path, data in homes.contents(home).items() if path in before} == before
    assert collector.requests == []


def test_what_this_release_does_not_know_is_kept(home, collector):
    """A newer release may add a file, a directory, a name in a record, and a record in another frame."""
    homes.configure(home, collector.url)
    named = records.sample(of_tomorrow={"n": 1})
    strange = b"\x93\x02" + records.encode(records.sample())[1:]
    homes.put_bytes(home, records.encode(named) + strange)
    host = homes.host(home)
    added = [home, host.parent, host, host / "spool", host / "outbox", host / "work", host / "sent"]
    for directory in added:
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "of-tomorrow").write_bytes(b"tomorrow")
        if directory.name not in {"outbox", "work"}:  # there each directory is a batch
            (directory / "directory-of-tomorrow").mkdir(mode=0o700)
    processes.deliver(home)
    (event,) = collector.events()
    assert event["context"]["of_tomorrow"] == {"n": 1}
    assert b"".join(path.read_bytes() for path in homes.find(host, "damaged/*")) == strange
    assert len(homes.find(home, "**/of-tomorrow")) == len(added)
    assert len(homes.find(home, "**/directory-of-tomorrow")) == len(added) - 2
