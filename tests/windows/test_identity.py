r"""Names and paths of this user in every form in which Windows and its programs write them."""

import os

import pytest

from flwr_telemetry import redaction, settings, system
from flwr_telemetry.layout import Home


@pytest.fixture
def redact(monkeypatch):
    monkeypatch.setenv("USERPROFILE", r"C:\Users\Johanna Example")
    monkeypatch.setenv("USERNAME", "jexample")
    monkeypatch.setenv("USERDOMAIN", "EXAMPLECORP")
    monkeypatch.setenv("COMPUTERNAME", "LAPTOP-4711")
    redactor = redaction.identity_redactor()
    return lambda text: redactor.redact({"a": text})["a"]


@pytest.mark.parametrize(
    "text",
    [
        r"C:\Users\Johanna Example\data",
        r"c:\users\johanna example\data",
        "C:/Users/Johanna Example/data",
        "/c/Users/Johanna Example/data",
        r"\\?\C:\Users\Johanna Example\data",
        "file:///C:/Users/Johanna%20Example/data",
        r"EXAMPLECORP\jexample",
        "on laptop-4711",
    ],
)
def test_it_is_redacted(redact, text):
    found = redact(text)
    assert redaction.REDACTED in found
    assert not [name for name in ("johanna", "jexample", "examplecorp", "laptop") if name in found.lower()]


def test_a_short_name_is_found(monkeypatch):
    """%TEMP% holds it. Many disks have none, so the function of the system is replaced."""

    def short(path):
        return path.replace("Johanna Example", "JOHANN~1")

    monkeypatch.setattr("flwr_telemetry.windows.users._short", short)
    monkeypatch.setenv("USERPROFILE", r"C:\Users\Johanna Example")
    names, directories = system.identity("")
    assert r"C:\Users\JOHANN~1" in directories
    assert "C:/Users/JOHANN~1" in directories
    assert "JOHANN~1" in names


def test_the_site_s_file_lies_below_programdata():
    assert str(settings.SITE_FILE) == os.path.join(os.environ["PROGRAMDATA"], "flwr", "telemetry.toml")


def test_a_site_s_file_that_any_user_could_write_switches_off(home, tmp_path):
    r"""Every user may create a name below %PROGRAMDATA% that is free."""
    path = tmp_path / "flwr" / "telemetry.toml"
    path.parent.mkdir()
    assert settings.load(Home(home), {}, site_file=path).consent.enabled
    path.write_text("enabled = true\n")
    consent = settings.load(Home(home), {}, site_file=path).consent
    assert (consent.enabled, consent.decided_by, consent.malformed) == (False, "site file", True)
    assert f"{path.parent} does not belong to the administrators; `icacls" in consent.reason


def test_a_process_is_known_by_its_birth():
    facts = system.process_facts(os.getpid())
    assert system.exists(os.getpid())
    assert facts == system.process_facts(os.getpid())
    assert facts[0] == "R"
    assert int(facts[3]) > 0
    assert not system.exists(0x7FFFFFF0)
    assert system.process_facts(0x7FFFFFF0) is None
