"""The source ID: one atomic creation by the first process, and no temporary file stays."""

import contextlib
import errno
import os
import shutil
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import files, source
from tests.support.faults import descriptors, fail_once, no_locks
from tests.support.strategies import tried

ID = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "flwr").mkdir()
    return tmp_path / "flwr" / "source"


CONTENTS = {ID: [ID.encode(), f" {ID}\n".encode()], ID.upper(): [ID.upper().encode()], None: [b""]}
CONTENTS["invalid"] = [b" \n", b"no id", ID.encode()[:-1], b"\xff\xfe", ID.encode() * 1000]


def test_read(path):
    """The content counts by Flower's own rule; an empty file holds no ID yet."""
    assert source.read(path) is None
    for told, contents in CONTENTS.items():
        for content in contents:
            path.write_bytes(content)
            assert (source.read(path), path.read_bytes()) == (told, content)
    path.unlink()
    path.mkdir()
    assert source.read(path) == "unavailable"


@pytest.mark.parametrize("has_locks", [True, False])
def test_all_who_heal_an_empty_file_at_once_agree(path, has_locks, monkeypatch):
    if not has_locks:
        no_locks(monkeypatch)
    path.touch()
    gate = threading.Barrier(32)
    with ThreadPoolExecutor(32) as pool:
        (told,) = set(pool.map(lambda _: (gate.wait(), source.ensure(path))[1], range(32)))
    assert uuid.UUID(told).version == 4
    assert path.read_text() == told
    assert os.listdir(path.parent) == ["source"]


def accepts(text):
    with contextlib.suppress(ValueError):
        return bool(uuid.UUID(text))
    return False


@tried(300)
@given(
    st.text("0123456789abcdefABF-{}_ +urn:id\u0663", min_size=28, max_size=40),
    st.text("-{}urn:+_ 0a", max_size=3),
)
def test_what_is_a_uuid(text, more):
    for value in (text, text + more, more + ID, ID.replace("-", more), ID + more):
        assert source.is_uuid(value) == accepts(value), value


def test_a_file_that_flower_filled_meanwhile_is_left_to_it(path):
    """The file is checked again under the lock."""
    path.write_text(ID)  # between the healer's first look and its lock
    before = files.signature(path)
    assert source._heal(path, 0)
    assert (files.signature(path), os.listdir(path.parent)) == (before, ["source"])


NO_LINKS = [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES]


@pytest.mark.parametrize("number", NO_LINKS)
def test_a_file_system_without_hard_links(path, number, monkeypatch):
    fail_once(monkeypatch, "link", number)
    told = source.ensure(path)
    assert (path.read_text(), os.listdir(path.parent)) == (told, ["source"])


@pytest.mark.parametrize("fault", ["link-EIO", "open-EROFS", "open-EMFILE", "write-ENOSPC", "write-EDQUOT"])
def test_a_source_that_cannot_be_made_leaves_nothing(path, fault, monkeypatch):
    before, (call, name) = descriptors(), fault.split("-")
    fail_once(monkeypatch, call, getattr(errno, name))
    assert source.ensure(path) == "unavailable"
    assert os.listdir(path.parent) == []
    assert descriptors() == before
    assert source.ensure(path) == path.read_text()


def test_an_empty_file_that_cannot_be_healed_leaves_nothing(path, monkeypatch):
    path.touch()
    fail_once(monkeypatch, "replace", errno.EIO)
    source.ensure(path)
    assert os.listdir(path.parent) == ["source"]
    shutil.rmtree(path.parent)
    assert source.ensure(path) == "unavailable"
    assert not path.parent.exists()


def test_a_link_that_leads_nowhere_is_left_alone(path):
    path.symlink_to(path.with_name("not-mounted"))
    assert (source.read(path), source.ensure(path)) == ("unavailable", "unavailable")
    assert os.listdir(path.parent) == ["source"]
