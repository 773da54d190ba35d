"""The user's word is written into the user's own file, and nothing else of it is touched."""

import contextlib
import errno
import os
import stat
import tomllib
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import settings_file
from flwr_telemetry.errors import SettingsError, SpoolUnsafeError
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin import config_file
from tests.support import homes
from tests.support.strategies import tried

URL = 'url = "https://example.org/"\n'


def written(home, *, enabled=False):
    config_file.write_enabled(Home(home), enabled=enabled)
    return homes.config_file(home).read_text()


_LINES = '''
# enabled = true
enabled = true
enabled = false # x
url = "https://example.org/a=enabled"
bursts = false
burst_window_s = 3

# ...
proxy = "enabled = true"
ca_bundle = """
"""
[table]'''.split("\n")


@tried()
@given(lines=st.lists(st.sampled_from(_LINES), max_size=8), enabled=st.booleans())
def test_the_file_says_so_or_is_left_alone(tmp_path_factory, lines, enabled):
    home = tmp_path_factory.mktemp("any") / ".flwr"
    before = "\n".join(lines)
    homes.write_settings(home, before)
    try:
        old = settings_file.parse(homes.config_file(home), before.encode())
        config_file.write_enabled(Home(home), enabled=enabled)
    except SettingsError:
        assert homes.config_file(home).read_text() == before
    else:
        after = homes.config_file(home).read_text()
        assert tomllib.loads(after) == {**old, "enabled": enabled}
        assert [line for line in before.split("\n") if "enabled" not in line] == [
            line for line in after.split("\n") if "enabled" not in line
        ]


@pytest.mark.parametrize("before", [f"# mine\n{URL}  enabled  =  true  # why\n", '"enabled"=true'])
def test_a_value_is_changed_where_it_stands(home, before):
    homes.write_settings(home, before)
    for _ in range(2):
        assert written(home) == before.replace("true", "false")


def test_a_value_that_looks_like_the_setting_is_not_edited(home):
    text = 'ca_bundle = """\nenabled = true\n"""\n'
    homes.write_settings(home, text)
    with pytest.raises(SettingsError, match="by hand"):
        config_file.write_enabled(Home(home), enabled=False)
    assert homes.config_file(home).read_text() == text


@pytest.mark.parametrize("mode", [0o644, 0o664, 0o400])
def test_a_file_as_an_editor_makes_it_is_the_users_own(home, mode):
    homes.write_settings(home, URL)
    homes.config_file(home).chmod(mode)
    assert written(home) == f"enabled = false\n{URL}"


def linked(home, target, text=URL):
    """Let the settings file be a link to a file with this text."""
    target.write_text(text)
    homes.config_file(home).parent.mkdir(parents=True, mode=0o700)
    homes.config_file(home).symlink_to(target)
    return homes.config_file(home)


@pytest.mark.parametrize("text", [URL, "enabled = maybe"])
def test_a_link_stays_a_link(home, tmp_path, text):
    file = linked(home, kept := tmp_path / "dotfiles.toml", text)
    if text == URL:
        assert written(home) == kept.read_text() == f"enabled = false\n{URL}"
        assert file.is_symlink()
    else:
        aside = config_file.write_opt_out(Home(home))
        assert (aside.is_symlink(), kept.read_text()) == (True, text)
        assert (file.is_symlink(), file.read_text()) == (False, "enabled = false\n")


def test_an_opt_in_where_others_can_write_is_refused(home):
    homes.write_settings(home, "")
    homes.telemetry(home).chmod(0o777)
    with pytest.raises(SpoolUnsafeError, match="chmod 700"):
        config_file.write_enabled(Home(home), enabled=True)
    assert written(home) == "enabled = false\n"


def test_what_cannot_be_understood_is_kept_beside_whole(home):
    texts = (b"\xff\x00 enabled = true", b"enabled = maybe", b"[enabled]")
    for number, text in enumerate(texts, start=1):
        homes.write_settings(home, text)
        homes.config_file(home).chmod(0 if number == 2 else 0o664)
        aside = config_file.write_opt_out(Home(home))
        assert homes.config_file(home).read_text() == "enabled = false\n"
        aside.chmod(0o600)
        assert aside.read_bytes() == text
    assert len(list(homes.telemetry(home).iterdir())) == 1 + len(texts)


@pytest.mark.parametrize("call", ["link", "fsync", "replace", "write"])
def test_at_no_moment_the_opt_out_is_missing(home, monkeypatch, call):
    homes.write_settings(home, "enabled = maybe")
    monkeypatch.setattr(os, call, mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        config_file.write_opt_out(Home(home))
    monkeypatch.undo()
    assert homes.contents(homes.telemetry(home)) == {"config.toml": b"enabled = maybe"}


def refuse(monkeypatch, name, error, concerns=lambda path, *_: ".config.toml." in str(path)):
    """Let a system call refuse what concerns the temporary file, or what else is chosen."""
    call = getattr(os, name)

    def refuse(path, *rest, **options):
        if concerns(path, *rest):
            raise OSError(error, os.strerror(error), str(path))
        return call(path, *rest, **options)

    monkeypatch.setattr(os, name, refuse)


@pytest.mark.parametrize("call", ["open", "replace"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("before", ["", f"# mine\n{URL}enabled = true\n", f"{URL}enabled = false\n"])
def test_where_no_new_file_can_be_made_the_old_one_is_written_over(home, monkeypatch, call, error, before):
    """No inode is left, the quota is reached, or the directory is immutable: the same file says no."""
    homes.write_settings(home, before)
    file, inode = homes.config_file(home), homes.config_file(home).stat().st_ino
    refuse(monkeypatch, call, error)
    assert config_file.write_opt_out(Home(home)) is None
    monkeypatch.undo()
    assert tomllib.loads(file.read_text()) == {**tomllib.loads(before), "enabled": False}
    assert file.stat().st_ino == inode
    assert [path.name for path in homes.telemetry(home).iterdir()] == ["config.toml"]


@pytest.mark.parametrize("before", [f"{URL}enabled = true\n", URL, f"enabled = true\n{URL}"])
def test_a_write_over_the_old_file_that_stops_never_leaves_another_yes(home, monkeypatch, before):
    """Cut at any byte: the file keeps its setting, or says no, or is malformed, which means no."""
    refuse(monkeypatch, "replace", errno.ENOSPC)
    whole = os.write
    for most in range(len(before) + 20):
        homes.write_settings(home, before)
        left = [most]

        def write(descriptor, data, left=left):
            if not os.readlink(f"/proc/self/fd/{descriptor}").endswith("/config.toml"):
                return whole(descriptor, data)
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = whole(descriptor, bytes(data)[: left[0]])
            left[0] -= written
            return written

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            with contextlib.suppress(OSError):
                config_file.write_opt_out(Home(home))
        now = homes.config_file(home).read_bytes()
        with contextlib.suppress(SettingsError):
            values = settings_file.parse(homes.config_file(home), now)
            assert now == before.encode() or values["enabled"] is False


def test_a_link_to_what_cannot_be_written_is_replaced(home, tmp_path, monkeypatch):
    """Dotfiles on a read-only store: the new file has all that they say, and the link is kept beside."""
    target = tmp_path / "store" / "config.toml"
    target.parent.mkdir()
    file = linked(home, target)

    def is_write(path, flags, *_):
        return Path(path).parent == target.parent and flags & os.O_WRONLY

    refuse(monkeypatch, "open", errno.EROFS, is_write)
    kept = config_file.write_opt_out(Home(home))
    assert (kept.name, kept.readlink()) == ("config.toml.link", target)
    assert target.read_text() == URL
    assert (file.is_symlink(), file.read_text()) == (False, f"enabled = false\n{URL}")


def test_an_opt_out_where_others_can_write_follows_no_link(home, tmp_path):
    """Somebody else may have placed the link. The opt-out replaces it."""
    file = linked(home, victim := tmp_path / "victim")
    homes.telemetry(home).chmod(0o777)
    assert written(home) == f"enabled = false\n{URL}"
    assert (victim.read_text(), file.is_symlink()) == (URL, False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_temporary_file_is_never_written_through_a_link(home, tmp_path):
    homes.write_settings(home, URL)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    homes.telemetry(home).joinpath(f".config.toml.{os.getpid()}.part").symlink_to(victim)
    assert written(home) == f"enabled = false\n{URL}"
    assert victim.read_text() == "precious"
