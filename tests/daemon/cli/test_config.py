"""`flwr-telemetry config`: what is in force, who decides it, and a change that keeps the rest of the file."""

import json
import stat

import pytest

from flwr_telemetry import settings_file
from tests.support import homes
from tests.support.commands import answer_of, ran

FILE = "# mine\nspool_max_mib = 7  # enough\nurl = 'https://old.example/v1'\n"


def test_each_setting_with_who_decides_it(home):
    homes.write_settings(home, FILE)
    found = {setting["name"]: setting for setting in answer_of(home, "config", "list")}
    assert tuple(found) == settings_file.NAMES
    row = {"name": "spool_max_mib", "value": 7, "default": 64}
    assert found["spool_max_mib"] == {**row, "decided_by": f"{homes.config_file(home)}, line 2"}
    assert found["enabled"]["decided_by"] == found["upload"]["decided_by"] == "default"
    off = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_TELEMETRY_UPLOAD": "0", "FLWR_TELEMETRY_SIDECAR": "never"}
    found = {setting["name"]: setting for setting in answer_of(home, "config", "list", env=off)}
    assert [found[name]["value"] for name in ("enabled", "upload", "sidecar")] == [False, False, "never"]
    assert all("FLWR_TELEMETRY" in found[name]["decided_by"] for name in ("enabled", "upload", "sidecar"))
    text = ran(home, "config", "list").stdout
    assert ran(home, "config").stdout == text
    assert f"7  by {homes.config_file(home)}, line 2" in text
    assert ran(home, "config", "get", "url").stdout == "https://old.example/v1\n"
    assert ran(home, "config", "path").stdout == f"{homes.config_file(home)}\n"


def test_a_change_keeps_every_other_line(home):
    homes.write_settings(home, FILE)
    ran(home, "config", "set", "spool_max_mib", "0.5")
    ran(home, "config", "set", "url", "https://new.example/v1?a=1#b")
    ran(home, "config", "set", "upload", "false")
    assert homes.config_file(home).read_text() == (
        'upload = false\n# mine\nspool_max_mib = 0.5  # enough\nurl = "https://new.example/v1?a=1#b"\n'
    )
    assert stat.S_IMODE(homes.config_file(home).stat().st_mode) == 0o600
    done = ran(home, "config", "set", "upload", "true", env={"FLWR_TELEMETRY_UPLOAD": "0"}, code=3)
    assert "FLWR_TELEMETRY_UPLOAD is '0'" in done.stderr


NO_SETTINGS = {"enbled false": "did you mean enabled?", "Upload false": "did you mean upload?"}
NO_SETTINGS |= {"zzz 1": "no setting called zzz", "proxy foo": "proxy must be http://host:port"}
NO_SETTINGS |= {
    "spool_max_mib many": "a number",
    "enabled 1": "true or false",
    "url http://x.y": "url must be",
}


@pytest.mark.parametrize("words", NO_SETTINGS)
def test_what_cannot_be_set_changes_nothing(home, words):
    homes.write_settings(home, FILE)
    assert NO_SETTINGS[words] in ran(home, "config", "set", *words.split(), code=2).stderr
    assert homes.config_file(home).read_text() == FILE


def test_an_editor_of_ones_choice_may_leave_a_file_that_cannot_be_understood(home):
    done = ran(home, "config", "edit", env={"VISUAL": "sh -c 'echo upload = false > \"$0\"'"})
    assert "is valid" in done.stdout
    assert homes.config_file(home).read_text() == "upload = false\n"
    broken = {"VISUAL": None, "EDITOR": "sh -c 'echo upload = maybe > \"$0\"'"}
    assert "no valid TOML" in ran(home, "config", "edit", env=broken, code=5).stderr
    assert "cannot be started" in ran(home, "config", "edit", env={"VISUAL": "/none"}, code=2).stderr
    assert f"{homes.config_file(home)}, line 1" in ran(home, "config", "list", code=5).stderr
    assert json.loads(ran(home, "config", "path", "--json").stdout) == {"path": str(homes.config_file(home))}
