"""The user's word is written into the user's own file, and nothing else of it is touched."""

import errno
import os
import stat
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import settings_file
from flwr_telemetry.errors import SettingsError, SpoolUnsafeError
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin import config_file
from tests.support import homes

URL = 'url = "https://example.org/"\n'


def written(home, *, enabled=False):
    config_file.write_enabled(Home(home), enabled=enabled)
    return homes.config_file(home).read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "enabled = false\n"),
        (f"# enabled = true\n{URL}", f"enabled = false\n# enabled = true\n{URL}"),
        (f"# mine\n{URL}  enabled  =  true  # why\n", f"# mine\n{URL}  enabled  =  false  # why\n"),
        (f"\n{URL}enabled = true\r\nbursts = true\r\n", f"\n{URL}enabled = false\r\nbursts = true\r\n"),
        *((f"{name}=true", f"{name}=false") for name in ("enabled", '"enabled"')),
    ],
)
def test_every_other_line_stays(home, before, after):
    """The value is changed where it stands; where it does not, a first line is added. Twice is as once."""
    homes.write_settings(home, before.encode())
    for _ in range(2):
        config_file.write_enabled(Home(home), enabled=False)
        assert homes.config_file(home).read_bytes() == after.encode()


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


def test_a_value_that_looks_like_the_setting_is_not_edited(home):
    text = 'ca_bundle = """\nenabled = true\n"""\n'
    homes.write_settings(home, text)
    with pytest.raises(SettingsError, match="by hand"):
        config_file.write_enabled(Home(home), enabled=False)
    assert homes.config_file(home).read_text() == text


def test_the_file_is_made_with_its_directories(home):
    os.umask(0)
    assert written(home, enabled=True) == "enabled = true\n"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (home, homes.telemetry(home))]
    assert modes == [0o700, 0o700]
    assert stat.S_IMODE(homes.config_file(home).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o664, 0o400])
def test_a_file_as_an_editor_makes_it_is_the_users_own(home, mode):
    homes.write_settings(home, URL)
    homes.config_file(home).chmod(mode)
    assert written(home) == f"enabled = false\n{URL}"


@pytest.mark.parametrize("text", [URL, "enabled = maybe"])
def test_a_link_stays_a_link(home, tmp_path, text):
    """Its target is written; one to what cannot be understood is kept beside, and its target stays."""
    homes.write_settings(home, "")
    kept, file = tmp_path / "dotfiles.toml", homes.config_file(home)
    kept.write_text(text)
    file.unlink()
    file.symlink_to(kept)
    if text == URL:
        assert written(home) == kept.read_text() == f"enabled = false\n{URL}"
        assert file.is_symlink()
    else:
        aside = config_file.replace_by_opt_out(Home(home))
        assert (aside.is_symlink(), kept.read_text()) == (True, text)
        assert (file.is_symlink(), file.read_text()) == (False, "enabled = false\n")


def test_an_opt_in_where_others_can_write_is_refused(home):
    homes.write_settings(home, "")
    homes.telemetry(home).chmod(0o777)
    with pytest.raises(SpoolUnsafeError, match="chmod 700"):
        config_file.write_enabled(Home(home), enabled=True)
    assert written(home) == "enabled = false\n"


def test_what_cannot_be_understood_is_kept_beside_whole(home):
    texts = (b"\xff\x00 enabled = true", b"enabled = maybe", b"")
    for number, text in enumerate(texts, start=1):
        homes.write_settings(home, text)
        homes.config_file(home).chmod(0 if number == 2 else 0o664)
        aside = config_file.replace_by_opt_out(Home(home))
        assert homes.config_file(home).read_text() == "enabled = false\n"
        aside.chmod(0o600)
        assert aside.read_bytes() == text
    assert len(list(homes.telemetry(home).iterdir())) == 1 + len(texts)


@pytest.mark.parametrize("call", ["link", "fsync", "replace", "write"])
def test_at_no_moment_the_opt_out_is_missing(home, monkeypatch, call):
    """A death or a full disk leaves the old file, which counts as an opt-out."""
    homes.write_settings(home, "enabled = maybe")

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="No space"):
        config_file.replace_by_opt_out(Home(home))
    monkeypatch.undo()
    assert homes.config_file(home).read_text() == "enabled = maybe"


def test_an_opt_out_where_others_can_write_follows_no_link(home, tmp_path):
    """Somebody else may have placed the link. The opt-out replaces it."""
    homes.write_settings(home, URL)
    victim = tmp_path / "victim"
    victim.write_text(URL)
    homes.config_file(home).unlink()
    homes.config_file(home).symlink_to(victim)
    homes.telemetry(home).chmod(0o777)
    assert written(home) == f"enabled = false\n{URL}"
    assert victim.read_text() == URL
    assert not homes.config_file(home).is_symlink()
    assert stat.S_IMODE(homes.config_file(home).stat().st_mode) == 0o600


def test_a_temporary_file_is_never_written_through_a_link(home, tmp_path):
    homes.write_settings(home, URL)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    homes.telemetry(home).joinpath(f".config.toml.{os.getpid()}.part").symlink_to(victim)
    assert written(home) == f"enabled = false\n{URL}"
    assert victim.read_text() == "precious"
