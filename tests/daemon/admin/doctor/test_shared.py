"""A home that other machines use, too, as the doctor sees it."""

import pytest

from flwr_telemetry import mounts
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.doctor import Verdict, examine, shared
from flwr_telemetryd.clock import Clock
from tests.support import homes, netfs, records


def found_in(home):
    return {check.name: check for check in examine(Home(home), {}, Clock())}


@pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())
@pytest.mark.parametrize(
    ("traits", "words"),
    [
        (netfs.Traits(), {"locks": "another descriptor and another process see a lock"}),
        (netfs.Traits(locks="refused"), {"locks": "refuses them"}),
        (netfs.Traits(locks="pretended"), {"locks": "one lock is granted twice"}),
        (netfs.Traits(skew_s=600), {"clock": "600 s ahead"}),
    ],
)
def test_what_is_told_of_a_shared_home(home, tmp_path, traits, words):
    """Whatever locks and clocks do there, nothing depends on it, so it is no fault."""
    homes.configure(home, (tmp_path / "bodies.jsonl").as_uri(), sidecar="never")
    homes.put(home, records.series(1))
    before = homes.tree(home)
    with netfs.mounted(home, tmp_path / "mount", traits) as mount:
        found = found_in(mount)
    for name, word in words.items():
        assert word in found[name].found
    assert found["file system"].found.startswith(
        "fuse.netfs, shared with other machines: each event is a whole"
    )
    assert "a mode that is set lasts" in found["modes"].found
    assert {found[name].verdict for name in ("file system", "locks", "modes", "clock")} == {Verdict.OK}
    assert homes.tree(home) == before


@pytest.fixture
def mounted(home, monkeypatch):
    """Have the table of mounts say that the home lies on a server, with these options."""

    def mount(options):
        table = home.parent / "mountinfo"
        table.write_text(
            f"1 0 8:1 / / rw - ext4 a rw\n2 1 0:9 / {home.parent} rw - nfs server:/ rw,{options}\n"
        )
        monkeypatch.setattr(mounts, "_TABLE", str(table))
        return mounts.find(home)

    return mount


OPTIONS = {
    "vers=3,nolock,local_lock=all": ["local_lock=all, nolock: other machines do not see its locks"],
    "vers=4.2,soft,noac": ["soft: a call fails if the server is slow", "noac: each check of a file asks"],
    "acregmin=9,acregmax=9": ["acregmax=9, acregmin=9: a change by another machine may be seen"],
    "vers=4.2,hard": [],
}


@pytest.mark.parametrize("options", OPTIONS)
def test_the_options_that_matter(mounted, options):
    found = shared.file_system(mounted(options)).found
    assert all(word in found for word in OPTIONS[options])
    assert ("hard" in found, found.count(": ")) == (False, 1 + len(OPTIONS[options]))


def test_locks_that_only_this_machine_sees_and_a_lock_manager_that_never_answers(home, mounted, monkeypatch):
    """The latter is behind a firewall, for example. The doctor does not wait for it. Modes may not last."""
    homes.put(home, records.series(1))
    mounted("vers=3,nolock,local_lock=all")
    found = found_in(home)["locks"].found
    assert "other machines do not (local_lock=all, nolock); telemetry locks no file there" in found
    mounted("vers=3")
    monkeypatch.setattr(shared, "LOCKS_S", 0.1)
    monkeypatch.setattr(shared, "_TRY_LOCKS", "import time; time.sleep(600)")
    monkeypatch.setattr(shared.os, "chmod", lambda *_: None)
    found = found_in(home)
    assert (found["locks"].verdict, found["locks"].found[:9]) == (Verdict.NOTE, "no answer")
    assert "does not last" in found["modes"].found
