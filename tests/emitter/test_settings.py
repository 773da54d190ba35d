"""Consent: any opt-out wins, and every decision names its cause."""

import os
from typing import NamedTuple
from unittest import mock

import pytest

from flwr_telemetry import settings
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import load
from flwr_telemetry.settings_file import Limits
from tests.support import homes

ON, OFF, BAD = "enabled = true\n", "# off\nenabled = false\n", "enabled = maybe\n"
TELEMETRY, TRACK = "FLWR_TELEMETRY_ENABLED", "DO_NOT_TRACK"


class Case(NamedTuple):
    """The settings of the site, the environment and the user, and the process's user."""

    decided_by: str
    enabled: bool = False
    site: str | None = None
    env: dict[str, str] = {}  # noqa: RUF012 - never changed
    user: str | None = None
    mine: bool = True
    reason: str = ""


CASES = {
    "nothing": Case("default", enabled=True),
    "site_off": Case("site file", site=OFF, reason="telemetry.toml, line 2"),
    "site_off_all_else_on": Case("site file", site=OFF, env={TELEMETRY: "1"}, user=ON),
    "site_on": Case("site file", enabled=True, site=ON, reason="telemetry.toml, line 1"),
    "user_off": Case("user file", user=OFF, reason="config.toml, line 2"),
    "user_off_all_else_on": Case("user file", site=ON, env={TELEMETRY: "1"}, user=OFF),
    "user_on": Case("user file", enabled=True, user=ON),
    "user_on_before_site_on": Case("user file", enabled=True, site=ON, user=ON, reason="config.toml"),
    **{
        f"{name}={value!r}": Case(name, env={name: value}, site=ON, user=ON, reason=repr(value))
        for name, values in {
            TELEMETRY: ("0", "", "no", "off", "false", "2", "maybe", "enabled", " 1 "),
            TRACK: ("1", "true", "no", "00", " "),
        }.items()
        for value in values
    },
    **{
        f"{TELEMETRY}={value}": Case(TELEMETRY, enabled=True, env={TELEMETRY: value}, reason=repr(value))
        for value in ("1", "true", "YES", "On")
    },
    **{f"{TRACK}={value!r}": Case("default", enabled=True, env={TRACK: value}) for value in ("", "0")},
    "explicit_yes_overrides_do_not_track": Case(TELEMETRY, enabled=True, env={TRACK: "1", TELEMETRY: "1"}),
    "explicit_no_beside_do_not_track": Case(TELEMETRY, env={TRACK: "1", TELEMETRY: "0"}),
    "explicit_yes_does_not_override_files": Case("user file", env={TRACK: "1", TELEMETRY: "1"}, user=OFF),
    "site_before_environment": Case("site file", site=OFF, env={TELEMETRY: "0", TRACK: "1"}, user=OFF),
    "environment_before_user": Case(TELEMETRY, env={TELEMETRY: "0"}, user=OFF),
    "owner": Case("owner", env={TELEMETRY: "1"}, site=ON, user=ON, mine=False, reason="another user"),
    "environment_before_owner": Case(TELEMETRY, env={TELEMETRY: "0"}, mine=False),
    "user_before_owner": Case("user file", user=OFF, mine=False),
    "site_malformed": Case("site file", site=BAD, env={TELEMETRY: "1"}, user=ON, reason="line 1"),
    "user_malformed": Case("user file", user=BAD, env={TELEMETRY: "1"}, site=ON, reason="line 1"),
    "user_malformed_before_site_off": Case("user file", site=OFF, user=BAD),
}


def another_user(*, is_other=True):
    return mock.patch("os.geteuid", return_value=os.geteuid() + is_other)


def told(home, tmp_path, case):
    site = tmp_path / "telemetry.toml"
    if case.site is not None:
        site.write_text(case.site)
    if case.user is not None:
        homes.write_settings(home, case.user)
    with another_user(is_other=not case.mine):
        return load(Home(home), case.env, site_file=site)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_decision(home, tmp_path, case):
    consent = told(home, tmp_path, case).consent
    assert (consent.enabled, consent.decided_by) == (case.enabled, case.decided_by)
    assert case.reason in consent.reason
    assert consent.malformed is (BAD in (case.site, case.user))


@pytest.mark.parametrize("path", ["a", "a/b/c", "file/.flwr"])
def test_the_owner_of_what_does_not_exist_is_that_of_its_nearest_parent(tmp_path, path):
    """Also below a file: consent has an answer, and the writer reports the error."""
    (tmp_path / "file").touch()
    home, site = Home(tmp_path / path), tmp_path / "telemetry.toml"
    assert load(home, {}, site_file=site).consent.enabled
    with another_user():
        refused = load(home, {}, site_file=site).consent
    assert (refused.enabled, refused.decided_by) == (False, "owner")
    assert not home.path.exists()


def test_without_an_environment_the_files_alone_decide(home, monkeypatch):
    """The sidecar's answer does not depend on the process that happened to start it."""
    for name, value in {TELEMETRY: "0", TRACK: "1", "FLWR_TELEMETRY_SIDECAR": "never"}.items():
        monkeypatch.setenv(name, value)
    known = load(Home(home), None, site_file=home / "none")
    assert (known.consent.enabled, known.sidecar, known.logging, known.partner) == (True, "auto", False, None)


def test_the_users_word_wins_over_the_sites(home, tmp_path):
    """For everything but the yes and no, setting by setting."""
    site = 'url = "https://site.example"\nproxy = "http://p:1"\nsidecar = "never"\n'
    site += "backoff_s = 7\nbackoff_max_s = 8"
    user = 'url = "https://user.example"\nbackoff_s = 0.5\nbursts = false\nca_bundle = "/x.pem"'
    known = told(home, tmp_path, Case("default", site=site, user=user))
    assert (known.url, known.proxy, known.ca_bundle) == ("https://user.example", "http://p:1", "/x.pem")
    assert (known.sidecar, known.limits) == ("never", Limits(backoff_s=0.5, backoff_max_s=8, bursts=False))


def test_who_says_whether_a_sidecar_may_start(home):
    """A valid variable overrides the files."""

    def chosen(**environ):
        return load(Home(home), environ, site_file=home / "none").sidecar

    assert chosen() == "auto"
    for in_file, by_variable in {
        "never": {"ALWAYS": "always", "auto": "auto", "sometimes": "never"},
        "always": {**dict.fromkeys(["never", "0", "False", "off", "no"], "never"), "": "always"},
    }.items():
        homes.write_settings(home, f'sidecar = "{in_file}"')
        assert chosen() == in_file
        assert {value: chosen(FLWR_TELEMETRY_SIDECAR=value) for value in by_variable} == by_variable


def in_place(path):
    """Write a no of the same size into a file, and keep its time: no field of its status may tell."""
    before = path.stat()
    path.write_text("enabled =false\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def dangling(path):
    path.unlink(missing_ok=True)
    path.symlink_to("gone")


CHANGES = {
    "user_written": lambda home, site: homes.write_settings(home, OFF),
    "user_in_place": lambda home, site: in_place(homes.config_file(home)),
    "user_dangling": lambda home, site: dangling(homes.config_file(home)),
    "site_written": lambda home, site: site.write_text(OFF),
    "site_dangling": lambda home, site: dangling(site),
    "home_gone": lambda home, site: home.rename(home.with_name("gone")),
    "owner": lambda home, site: os.chown(home, os.geteuid() + 1, -1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_signature_tells_of_every_change(home, tmp_path, change):
    if change == "owner" and os.geteuid() != 0:
        pytest.skip("only root can give a home away")
    site = tmp_path / "telemetry.toml"
    homes.write_settings(home, ON)
    before = settings.signature(Home(home), site)
    homes.put(home, [])
    assert settings.signature(Home(home), site) == before
    CHANGES[change](home, site)
    assert settings.signature(Home(home), site) != before


def test_what_belongs_to_a_url_goes_with_it(home, tmp_path):
    """A user's own url never gets the form, the headers or the certificate that are for the site's."""
    site = 'url = "https://site.example"\nformat = "otlp"\nheaders_file = "/h"\nclient_cert = "/c"\n'
    site += 'client_key = "/k"\ncompression = "none"\n'
    known = told(home, tmp_path, Case("default", site=site, user="bursts = false"))
    assert (known.format, known.headers_file, known.compression) == ("otlp", "/h", "none")
    known = told(home, tmp_path, Case("default", site=site, user='url = "https://user.example"'))
    assert (known.format, known.compression, known.plaintext) == ("flower", None, False)
    assert (known.headers_file, known.client_cert, known.client_key) == (None, None, None)
    known = told(home, tmp_path, Case("default", site=site, user='headers_file = "/mine"'))
    assert (known.url, known.headers_file, known.format) == ("https://site.example", "/mine", "otlp")
