"""Which file system a path is on, by the table of mounts alone."""

import os

import pytest

from flwr_telemetry import mounts
from tests.support import netfs


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Give a function that replaces the table; its points are names below the test's directory."""
    path = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "_TABLE", str(path))

    def write(*rows, root="1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"):
        lines = (f"2 1 0:9 / {tmp_path}/{point} rw,noatime master:1 - {rest}\n" for point, rest in rows)
        path.write_text("".join([root, *lines]))

    return write


@pytest.mark.parametrize("kind", "nfs4 cifs lustre fuse.sshfs autofs a-new-one tmpfs overlay".split())
def test_a_file_system_is_shared_unless_it_is_known_to_be_this_machines_own(table, tmp_path, kind):
    """The options of both kinds count."""
    table(("mount", f"{kind} server:/home rw,vers=3,local_lock=all"))
    found = mounts.find(tmp_path / "mount/u/.flwr")
    assert (found.kind, found.is_shared) == (kind, kind not in {"tmpfs", "overlay"})
    assert found.options >= {"noatime", "vers=3", "local_lock=all"}
    assert not mounts.is_shared(tmp_path / "mounted")


def test_a_disk_that_several_machines_write_to(table):
    table(root="1 0 8:1 / / rw - gfs2 /dev/sda1 rw\n")
    assert mounts.is_shared("/home")


AUTOFS, NFS, TMPFS = "autofs systemd-1 rw", "nfs4 server:/ rw", "tmpfs tmpfs rw"


@pytest.mark.parametrize(
    ("rows", "path", "is_shared"),
    [
        ([("mount", AUTOFS), ("mount", TMPFS)], "mount", False),  # the last of two on one point
        ([("mount", AUTOFS), ("mount/own", TMPFS)], "mount/other/.flwr", True),
        ([("mount", AUTOFS), ("mount/own", TMPFS)], "mount/own/.flwr", False),
        ([("my\\040mount", NFS)], "my mount/u", True),
    ],
)
def test_which_of_several_mounts_counts(table, tmp_path, rows, path, is_shared):
    table(*rows)
    assert mounts.is_shared(tmp_path / path) is is_shared


@pytest.mark.parametrize("target", ["mount/u", "{}/mount/u", "there/../mount/u", "second"])
def test_a_link_of_this_machine_leads_to_a_server(table, tmp_path, monkeypatch, target):
    """No call asks the server, and links in a circle end."""
    table(("mount", NFS))
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(target.format(tmp_path))
    (tmp_path / "second").symlink_to("link")
    asked, readlink = [], os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: asked.append(str(path)) or readlink(path))
    assert mounts.is_shared(tmp_path / "second/.flwr") is (target != "second")
    assert asked
    assert not [path for path in asked if path.startswith(f"{tmp_path}/mount")]


@pytest.mark.parametrize("text", ["", "\n", "36 35\n", "1 0 8:1 / / rw ext4 a rw\n"])
def test_a_table_that_tells_nothing(table, tmp_path, text):
    table(root=text)
    assert mounts.find(tmp_path) is None
    assert not mounts.is_shared(tmp_path)


@pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())
def test_a_real_mount(tmp_path):
    (tmp_path / "served").mkdir()
    with netfs.mounted(tmp_path / "served", tmp_path / "mount", netfs.Traits()) as mount:
        assert mounts.is_shared(mount / "u")
        assert mounts.is_shared_device(os.stat(mount).st_dev)
        assert not mounts.is_shared(tmp_path)
        assert not mounts.is_shared_device(os.stat(tmp_path).st_dev)
