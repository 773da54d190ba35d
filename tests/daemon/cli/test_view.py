"""`flwr-telemetry view`: where the page goes, and who may read it."""

import os
import stat

import pytest

from tests.support import homes, records
from tests.support.commands import answer_of, ran

NO_DISPLAY = {"DISPLAY": None, "WAYLAND_DISPLAY": None}


def test_a_new_file_for_this_user_alone(home, tmp_path):
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    homes.put(home, records.series(1))
    before = homes.contents(home)
    pages = [answer_of(home, "view", env={**NO_DISPLAY, "XDG_RUNTIME_DIR": str(run)}) for _ in range(2)]
    files = [os.path.basename(page["file"]) for page in pages]
    assert sorted(os.listdir(run)) == sorted(files)
    assert {page["opened"] for page in pages} == {False}
    assert {stat.S_IMODE(path.stat().st_mode) for path in run.iterdir()} == {0o600}
    assert homes.contents(home) == before
    elsewhere = {**NO_DISPLAY, "XDG_RUNTIME_DIR": str(run / "none"), "TMPDIR": str(tmp_path)}
    assert ran(home, "view", env=elsewhere).stdout.startswith(f"The page is written: {tmp_path}/flwr-")


def test_a_file_of_ones_own_is_replaced_whole(home, tmp_path):
    page, link = tmp_path / "page.html", tmp_path / "link.html"
    page.write_text("old" * 100_000)
    page.chmod(0o644)
    link.symlink_to(page)
    ran(home, "view", "-o", str(link))
    assert link.is_symlink()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert page.read_text().endswith("</html>\n")
    assert sorted(path.name for path in tmp_path.glob("*page*")) == ["page.html"]
    missing = str(tmp_path / "none" / "x")
    assert "No such file" in ran(home, "view", "-o", missing, code=2, env={"COLUMNS": "400"}).stderr
    assert ran(home, "view", "-o", "/dev/stdout").stdout.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("settings", "told"),
    [("enabled = false", "is off."), ("upload = false", "nothing is sent"), ("x = maybe", "no valid TOML")],
)
def test_it_works_whatever_the_settings_say(home, settings, told):
    homes.write_settings(home, settings)
    assert told in ran(home, "view", "-o", "-").stdout


def test_it_is_opened_where_there_is_a_display(home, tmp_path):
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o700)
    env = {"DISPLAY": ":9", "BROWSER": str(browser), "XDG_RUNTIME_DIR": str(tmp_path)}
    page = answer_of(home, "view", env=env)
    assert page["opened"]
    assert opened.read_text().strip() == f"file://{page['file']}"
    opened.unlink()
    assert not answer_of(home, "view", "--no-open", env=env)["opened"]
    assert not opened.exists()
