"""One settings file: the accepted values, and refusals with file and line."""

import errno
import os
import shutil
import socket
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import settings_file
from flwr_telemetry.errors import SettingsError
from flwr_telemetry.settings_file import Limits, content, parse, url_problem, where
from tests.support.faults import amid, fail_once
from tests.support.strategies import tried


def read(path):
    return parse(path, content(path))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.toml"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# enabled = false\n", {}),
        ("enabled = false", {"enabled": False}),
        ('url = "https://x.example/y"\nproxy = "p:1"', {"url": "https://x.example/y", "proxy": "p:1"}),
        ('deletion_contact = "a.b+c@x.org"', {"deletion_contact": "a.b+c@x.org"}),
        ('sidecar = "never"\nca_bundle = "/x.pem"', {"sidecar": "never", "ca_bundle": "/x.pem"}),
        ("idle_exit_s = 0.25\nbursts = false", {"idle_exit_s": 0.25, "bursts": False}),
        ("enabled = true\r\n", {"enabled": True}),
        ("\ufeffenabled = false\n", {"enabled": False}),
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
        ('format = "OTLP"\ncompression = "none"', "line 1: format must be one of flower, otlp"),
        ('format = "otlp"\ncompression = "NONE"', "line 2: compression must be one of gzip, none"),
        ('proxy = ""', "line 1: proxy must be a non-empty string"),
        ("ca_bundle = 1", "line 1: ca_bundle must be a non-empty string"),
        *(
            (f"deletion_contact = {value}", "line 1: deletion_contact must be a mail address or https")
            for value in ('""', "1", '"us"', '"http://x.org"', '"https://"', '"a@b@c"', '"a@b\\nBcc: c@d"')
        ),
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


UNREADABLE = {
    "a dangling link": lambda path: path.symlink_to("gone/config.toml"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link through a file": lambda path: path.symlink_to(__file__ + "/config.toml"),
    "a link to a name that is too long": lambda path: path.symlink_to("x" * 300),
    "a directory": lambda path: path.mkdir(),
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a directory above that is a file": lambda path: without(path.parent).touch(),
    "a directory above that is a dangling link": lambda path: without(path.parent).symlink_to("gone"),
    "a home that is a dangling link": lambda path: without(path.parents[1]).symlink_to("gone"),
}


def without(directory):
    shutil.rmtree(directory)
    return directory


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_name_that_exists_and_cannot_be_read_is_refused(tmp_path, monkeypatch, kind):
    """The name may be that of an opt-out, so it is not the same as a missing file."""
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    path = Path(".flwr/telemetry/config.toml")
    path.parent.mkdir(parents=True)
    assert read(path.absolute()) == {}
    UNREADABLE[kind](path.absolute() if kind != "a socket" else path)
    with pytest.raises(SettingsError, match=r"config\.toml"):
        read(path.absolute())


def test_a_file_that_is_made_between_two_looks_is_read(path, monkeypatch):
    amid(monkeypatch, lambda: path.write_text("enabled = false"), "lstat")
    assert read(path) == {"enabled": False}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ELOOP, errno.EMFILE, errno.ESTALE])
def test_a_file_that_cannot_be_opened_is_refused(path, number, monkeypatch):
    """Any error but a missing file switches telemetry off. After a stale handle it is tried again."""
    path.write_text("enabled = true")
    fail_once(monkeypatch, "open", number)
    if number == errno.ESTALE:
        assert read(path) == {"enabled": True}
        for _ in range(3):
            fail_once(monkeypatch, "open", number)
    with pytest.raises(SettingsError, match=os.strerror(number)):
        read(path)


ALLOWED = """
    https://telemetry.flower.ai/api/v1/event https://x https://[::1]:8443/x?y#z HTTPS://X.example
    http://127.0.0.1:1/x http://127.9.9.9 http://localhost:80/ http://LOCALHOST/ http://[::1]/ file:///a/b.jsonl
""".split()
REFUSED = """
    x https:// https:///x https://x:99999/ https://x:y/ https://[::1/ https://u:p@x/ https://u@x/ https://@x/
    http://127.0.0.1@evil.example/ http://example.org/ http://localhost.evil.example/
    http://127.0.0.1.evil.example/ http://0.0.0.0/ http://10.0.0.1/ http://[::]/ http://2130706433/ http://
    ftp://x/ file://host/a file:a file:/// file:///a/ unix:///x javascript:alert(1)
""".split()


@pytest.mark.parametrize("url", [*ALLOWED, "file:///a b", *REFUSED, ""])
def test_url_problem(url):
    assert (url_problem(url) is None) is (url in {*ALLOWED, "file:///a b"})


def test_where_a_setting_stands(path):
    path.write_text("# enabled\n  'enabled' = true\nenabled_x = 1\n")
    assert where(path, "enabled", content(path)) == f"{path}, line 2"
    assert where(path, "nothing", content(path)) == str(path)
    assert where(path.with_name("gone"), "enabled", b"") == str(path.with_name("gone"))


@pytest.mark.parametrize("host", ["collector.example:4318", "10.0.0.1", "[fd00::1]:4318"])
def test_plaintext_must_stand_in_the_file_of_the_url(path, host):
    """Whoever sends in the clear says so beside the address, not in some other file."""
    url = f"http://{host}/v1/logs"
    for plaintext, refused, told in (
        ("", url, r"line 1: url must be https.* needs plaintext = true in the same"),
        ("plaintext = false\n", url, "plaintext = true"),
        *(("plaintext = true\n", wrong, "url must") for wrong in ("http:///x", "http://u:p@h/", "ftp://h/")),
    ):
        path.write_text(f'{plaintext}url = "{refused}"\n')
        with pytest.raises(SettingsError, match=told):
            read(path)
    path.write_text(f'plaintext = true\nurl = "{url}"\n')
    assert read(path)["plaintext"] is True


@pytest.mark.parametrize("name", ["headers_file", "client_cert", "client_key"])
def test_a_file_beside_the_settings_has_a_whole_path(path, name):
    for value in ("/etc/x.toml", "~/x.toml"):
        path.write_text(f'{name} = "{value}"\n')
        assert read(path) == {name: value}
    for value in ('"x.toml"', '""', "true", '"/x\\u0000"'):
        path.write_text(f"{name} = {value}\n")
        with pytest.raises(SettingsError, match=f"{name} must be the whole path"):
            read(path)


PARTS = [*"\"\\'# \t\r=._-0[]", *'url enabled true false inf 12 "https://a.b/c" [x] "" 1e3'.split()]
PARTS += ["\u00e9", "\x00", "9" * 20]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=5).map("".join)
VALUES = (
    st.sampled_from(["true", "false", "0", "12", "007", "1.5", "-1", '"a"', '""', '"a # b"', "[1]"]) | TEXTS
)
NAMED = st.builds("{} = {}".format, st.sampled_from([*settings_file.NAMES[:4], "a"]), VALUES)


@tried(300)
@given(st.lists(NAMED | TEXTS, max_size=4).map("\n".join))
def test_a_plain_file_is_understood_as_toml(text):
    values = settings_file._plain(text.encode())
    if values is not None:
        assert values == tomllib.loads(text)
        assert [*map(type, values.values())] == [*map(type, tomllib.loads(text).values())]


def test_most_files_need_no_parser(monkeypatch):
    monkeypatch.setattr(settings_file, "_tomllib", None)
    text = '# ours\nurl = "https://a.b/c"\n\nsidecar="never"\nenabled =true\nrespawn_s = 30\n'
    values = {"url": "https://a.b/c", "sidecar": "never", "enabled": True, "respawn_s": 30}
    assert parse(Path("config.toml"), text.encode()) == values
