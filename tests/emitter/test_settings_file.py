"""One settings file: the accepted values, and refusals with file and line."""

import errno
import os
import threading

import pytest

from flwr_telemetry.errors import SettingsError
from flwr_telemetry.settings_file import Limits, read, url_problem, where
from tests.support.faults import fail_once


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.toml"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# enabled = false\n", {}),
        ("enabled = false", {"enabled": False}),
        (
            'url = "https://x.example/y"\nproxy = "http://u:p@x:1"',
            {"url": "https://x.example/y", "proxy": "http://u:p@x:1"},
        ),
        ('sidecar = "never"\nca_bundle = "/x.pem"', {"sidecar": "never", "ca_bundle": "/x.pem"}),
        (
            "backoff_s = 0\nidle_exit_s = 0.25\nbursts = false",
            {"backoff_s": 0, "idle_exit_s": 0.25, "bursts": False},
        ),
        ("\ufeff".strip("\ufeff") + "enabled = true\r\n", {"enabled": True}),
    ],
)
def test_what_is_understood(path, text, values):
    path.write_text(text, newline="")
    assert read(path) == values


@pytest.mark.parametrize("name", [name for name in Limits._fields if name != "bursts"])
def test_every_limit_is_a_number(path, name):
    for text in ("0", "1.5", "86400", "1e9"):
        path.write_text(f"{name} = {text}\n")
        assert read(path) == {name: float(text)}
    for text in ("-1", "-0.5", "1.01e9", "1e300", "inf", "nan", "true", '"5"', "[1]", "2026-11-22"):
        path.write_text(f"# numbers\n\n{name} = {text}\n")
        with pytest.raises(SettingsError, match=f"config.toml, line 3: {name} must be a number"):
            read(path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("enabled\n", "line 1"),
        ("enabled", "line 1"),
        ("enabled = false\nenabled = true", "line 2"),
        ("a = 1\nenabled == false", "line 2"),
        ("enabled = false\nenabled = true\n", "line 2"),
        ("\n\nenabled = 0", "line 3: enabled must be true or false"),
        ('enabled = "false"', "line 1: enabled must be true or false"),
        ("bursts = 1", "line 1: bursts must be true or false"),
        ("enabled = true\nenable = false", "line 2: there is no setting called enable"),
        ("Enabled = false", "line 1: there is no setting called Enabled"),
        ('"enabled " = false', "there is no setting called enabled "),
        ("[telemetry]\nenabled = false", "line 1: there is no setting called telemetry"),
        ("[enabled]\nx = 1", "line 1: enabled must be true or false"),
        ("url.x = 1", "line 1: url must be a string"),
        ('sidecar = "sometimes"', "line 1: sidecar must be one of auto, always, never"),
        ("sidecar = false", "line 1: sidecar must be one of"),
        ('proxy = ""', "line 1: proxy must be a non-empty string"),
        ("ca_bundle = 1", "line 1: ca_bundle must be a non-empty string"),
        ('\nurl = "http://example.org"', "line 2: url must be https"),
        ("x = " + "[" * 5000, "no valid TOML"),
    ],
)
def test_what_is_refused(path, text, word):
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"enabled = false # \xff", b"# " + b"x" * 65_536], ids=["no_utf8", "too_long"]
)
def test_bytes_that_are_refused(path, data):
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=r"config\.toml"):
        read(path)


def test_no_file_says_nothing(path):
    assert read(path) == {}
    path.write_text("")
    assert read(path / "config.toml") == {}


def test_a_directory_in_its_place_is_refused(path):
    """An unreadable file is no opt-in."""
    path.mkdir()
    with pytest.raises(SettingsError, match="no plain file"):
        read(path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ELOOP, errno.EMFILE])
def test_a_file_that_cannot_be_opened_is_refused(path, number, monkeypatch):
    """Any error but a missing file switches telemetry off."""
    path.write_text("enabled = true")
    for _ in range(3):  # where another host has just replaced it, there is a new one: it is tried again
        fail_once(monkeypatch, "open", number)
    with pytest.raises(SettingsError, match=os.strerror(number)):
        read(path)


def test_a_file_that_another_host_replaces_is_read_again(path, monkeypatch):
    """After a stale handle the new file is read; if it stays stale, telemetry is off."""
    path.write_text("enabled = true")
    fail_once(monkeypatch, "open", errno.ESTALE)
    assert read(path) == {"enabled": True}

    def fail(*_, **__):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(SettingsError, match=os.strerror(errno.ESTALE)):
        read(path)


def test_a_fifo_in_its_place_holds_nobody(path):
    """Reading a FIFO answers at once, with a refusal."""
    os.mkfifo(path)
    told = []

    def look():
        try:
            told.append(read(path))
        except SettingsError as error:
            told.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    reader.join(1)
    waited = reader.is_alive()
    if waited:
        path.open("wb").close()  # let it go
        reader.join()
    assert not waited
    assert isinstance(told[0], SettingsError)


URLS = {
    "https://telemetry.flower.ai/api/v1/event": True,
    "https://x": True,
    "https://[::1]:8443/x?y#z": True,
    "HTTPS://X.example": True,
    "http://127.0.0.1:1/x": True,
    "http://127.9.9.9": True,
    "http://localhost:80/": True,
    "http://LOCALHOST/": True,
    "http://[::1]/": True,
    "file:///a/b.jsonl": True,
    "file:///a b": True,
    "": False,
    "x": False,
    "https://": False,
    "https:///x": False,
    "https://x:99999/": False,
    "https://x:y/": False,
    "https://[::1/": False,
    "https://u:p@x/": False,
    "https://u@x/": False,
    "https://@x/": False,
    "http://127.0.0.1@evil.example/": False,
    "http://example.org/": False,
    "http://localhost.evil.example/": False,
    "http://127.0.0.1.evil.example/": False,
    "http://0.0.0.0/": False,
    "http://10.0.0.1/": False,
    "http://[::]/": False,
    "http://2130706433/": False,
    "http://": False,
    "ftp://x/": False,
    "file://host/a": False,
    "file:a": False,
    "file:///": False,
    "file:///a/": False,
    "unix:///x": False,
    "javascript:alert(1)": False,
}


@pytest.mark.parametrize(("url", "may"), URLS.items())
def test_url_problem(url, may):
    assert (url_problem(url) is None) is may


@pytest.mark.parametrize("value", [None, 1, True, ["https://x"], b"https://x"])
def test_a_url_is_a_string(value):
    assert url_problem(value) == "url must be a string"


def test_where_a_setting_stands(path):
    path.write_text("# enabled\n  'enabled' = true\nenabled_x = 1\n")
    assert (where(path, "enabled"), where(path, "nothing")) == (f"{path}, line 2", str(path))
    assert where(path.with_name("gone"), "enabled") == str(path.with_name("gone"))
