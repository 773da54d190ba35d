"""Which directory of a shared home is this machine's, where several machines have one name."""

import os
import shutil
import uuid

import pytest

from flwr_telemetry import machine, mounts
from flwr_telemetry.layout import Home, host_name
from flwr_telemetry.machine import own_host
from flwr_telemetry.spool.whole import WholeWriter
from tests.support import homes, netfs, processes


class Machine:
    def __init__(self, files, monkeypatch, *, machine_id=None):
        self._monkeypatch = monkeypatch
        self.files = files / uuid.uuid4().hex
        self.files.mkdir()
        self.use(str(uuid.uuid4()), machine_id or uuid.uuid4().hex)

    def use(self, boot, machine_id):
        self.boot, self.machine_id = boot, machine_id
        for name, text in (("BOOT_ID", boot), ("MACHINE_ID", machine_id)):
            (self.files / name).write_text(f"{text}\n")

    def boot_again(self):
        self.use(str(uuid.uuid4()), self.machine_id)

    def finds(self, home, may_claim=lambda: True):
        """Give the end of the name of the directory that this machine takes for its own."""
        for name in ("BOOT_ID", "MACHINE_ID"):
            self._monkeypatch.setattr(machine, name, self.files / name)
        return own_host(Home(home), may_claim).name.removeprefix(host_name())


@pytest.fixture
def make(tmp_path, monkeypatch):
    return lambda **ids: Machine(tmp_path, monkeypatch, **ids)


@pytest.fixture
def shared(tmp_path, home, monkeypatch):
    """Have the table of mounts say that the home lies on a server."""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {home.parent} rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(mounts, "_TABLE", str(table))
    return home


def claimed(home):
    return homes.host(home) / "machine"


def let_all_boot(home):
    """Make every claim older than the last boot."""
    for path in homes.find(homes.telemetry(home), "*/machine"):
        os.utime(path, (0, 0))


def ends(home, *machines):
    return [machine.finds(home) for machine in machines]


@pytest.fixture
def pair(shared, make):
    """Give two machines that have a directory each."""
    pair = make(), make()
    assert ends(shared, *pair) == ["", "-2"]
    return pair


def test_machines_of_one_name_have_a_directory_each(shared, make, pair):
    first, second, third = *pair, make()
    assert ends(shared, third, second, first) == ["-3", "-2", ""]
    written = "".join(path.read_text() for path in homes.find(homes.telemetry(shared), "*/machine"))
    assert len(written.splitlines()) == 3
    for one in (first, second, third):
        assert not any(known in written for known in (one.boot, one.boot.replace("-", ""), one.machine_id))


def test_a_home_of_one_machine_is_neither_read_nor_written(home, make):
    """Containers of one name over one local home share a directory."""
    assert [make().finds(home) for _ in range(3)] == [""] * 3
    assert not home.exists()


def test_a_machine_keeps_its_directory(shared, make, pair):
    """When it is booted again, and when a better name is free: a service may still work in it."""
    first, second = pair
    for _ in range(2):
        let_all_boot(shared)
        for each, end in ((second, "-2"), (first, "")):
            each.boot_again()
            assert each.finds(shared) == end
    assert ends(shared, make(), first) == ["-3", ""]
    shutil.rmtree(homes.host(shared))  # as that of a machine that is gone
    assert ends(shared, second, make(), second) == ["-2", "", "-2"]


@pytest.mark.parametrize("known", ["0" * 32, "", "uninitialized"])
def test_copies_of_one_disk(shared, make, known):
    """A file that was touched since the boot is another machine's."""
    one, other = make(machine_id=known), make(machine_id=known)
    assert ends(shared, one, other, one) == ["", "-2", ""]
    let_all_boot(shared)
    one.finds(shared)  # tells that it still runs
    other.boot_again()
    assert other.finds(shared) == "-2"


def test_a_process_that_cannot_see_the_boot_id_is_told_by_the_machine_id(shared, make, pair):
    """For example in a service that hides parts of proc(5). Without any ID it takes the plain name."""
    for each in pair:
        each.use("", each.machine_id)
    nameless = make()
    nameless.use("", "none")
    assert ends(shared, *pair, nameless) == ["", "-2", ""]
    assert claimed(shared).is_file()


def test_many_machines_of_one_name_read_few_files(shared, make):
    found = ends(shared, *(make() for _ in range(12)))
    assert found[:9] == ["", *(f"-{number}" for number in range(2, 10))]
    assert len({*found}) == 12
    assert {len(end) for end in found[9:]} == {9}


def test_a_long_name_is_cut(shared, make, monkeypatch):
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((real[0], "x" * 70, *real[2:])))
    assert ends(shared, make(), make()) == ["", "x" * 62 + "-2"]


def test_nothing_is_created_unless_consent_allows_it(shared, make):
    for may in (False, True):
        assert make().finds(shared, lambda may=may: may) == ""
        assert shared.exists() is may


@pytest.mark.parametrize("is_old", [False, True])
def test_a_reader_that_may_write_nothing_after_a_boot(shared, make, monkeypatch, is_old):
    """Telemetry may be off, so it makes no temporary file to learn the time of the server."""
    one = make()
    one.finds(shared)
    one.boot_again()
    if is_old:
        let_all_boot(shared)
    monkeypatch.delattr(machine.presence, "file_system_now")
    assert one.finds(shared, lambda: False) == ("" if is_old else "-2")


def test_a_reader_takes_the_first_directory_that_is_free(shared, make, pair):
    third, before = make(), homes.tree(shared)
    assert third.finds(shared, lambda: False) == "-3"
    assert homes.tree(shared) == before
    assert third.finds(shared) == "-3"


@pytest.mark.parametrize("damage", [b"", b"\xff\x00", b"a b c d e\n", b"- - -\n"])
def test_a_damaged_file_is_replaced_once_it_is_old(shared, make, damage):
    first, second = make(), make()
    first.finds(shared)
    claimed(shared).write_bytes(damage)
    assert second.finds(shared) == "-2"
    let_all_boot(shared)
    assert [first.finds(shared), make().finds(shared)] == ["", "-3"]


def test_what_is_no_file_of_ours_is_told_by_the_next_use(shared, make):
    claimed(shared).parent.mkdir(parents=True)
    claimed(shared).symlink_to("elsewhere")
    assert make().finds(shared) == ""


@pytest.mark.parametrize("has_links", [True, False])
def test_one_of_two_claims_at_once_wins(shared, make, monkeypatch, has_links):
    first, second = make(), make()
    found = []
    link = os.link

    def then(source, target):
        monkeypatch.setattr(os, "link", link if has_links else refuse)
        found.append(second.finds(shared))
        os.link(source, target)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", then)
    assert first.finds(shared) in {"", "-2"}
    monkeypatch.setattr(os, "link", link)
    assert (second.finds(shared), first.finds(shared)) == ("", "-2")
    assert found == [""]
    assert not homes.find(homes.telemetry(shared), "*/.*")


def test_a_directory_that_was_removed_is_claimed_again(shared, make):
    """A sidecar of another machine removes the directories of machines that seem to be gone.

    The writer asks before it makes a directory, as that of the emitter does.
    """
    one = make()
    one.finds(shared)
    host = own_host(Home(shared))
    writer = WholeWriter(host, lambda: own_host(Home(shared), lambda: True) == host, lambda: None)
    for _ in range(2):
        writer.append(b"", 1e9)
        assert (claimed(shared).is_file(), make().finds(shared, lambda: False)) == (True, "-2")
        one.finds(shared)
        shutil.rmtree(homes.host(shared))


CHANGED = """
from pathlib import Path
from flwr_telemetry import machine
machine.BOOT_ID, machine.MACHINE_ID = Path(sys.argv[1], "BOOT_ID"), Path(sys.argv[1], "MACHINE_ID")
"""
EMIT = 'print(outcome(event("PING", {"n": 0})))'
DELIVER = "from flwr_telemetryd.__main__ import main; sys.exit(main(['--once']))"
STATUS = "from flwr_telemetryd.cli import main; sys.argv[1:] = ['status']; main()"


@pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())
def test_two_machines_of_one_name_on_a_server(home, make, tmp_path, collector):
    """Each has its own spool, its own sidecar, and its own place in the status."""
    homes.configure(home, collector.url)
    for number, end in enumerate(["", "-2"]):
        with netfs.mounted(home, tmp_path / str(number), netfs.Traits()) as mount:
            words = ["-c", f"{processes.PRELUDE}{CHANGED}exec(sys.argv[2])", str(make().files)]
            ran = [processes.run(mount, [*words, code], processes.NEVER) for code in (EMIT, STATUS, DELIVER)]
        own = homes.host(home, host_name() + end)
        assert ran[0].stdout == "spooled\n"
        assert f"Host {own.name} (this one)" in ran[1].stdout
        assert ("because another machine" in ran[1].stdout) is bool(end)
        assert (own / "sidecar.json").is_file()
        assert len(collector.events()) == number + 1
