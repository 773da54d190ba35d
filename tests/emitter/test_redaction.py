"""Details: JSON passes unchanged, and nothing that identifies the user or the host passes."""

import getpass
import os
import pwd

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import redaction
from flwr_telemetry.details import DetailsEncoder
from flwr_telemetry.redaction import Redactor
from tests.support.strategies import details as any_details
from tests.support.strategies import packed, tried

REDACTORS = [
    Redactor((), ()),
    Redactor(["zquill", "zq-node7", "zq"], ["/home/zquill"]),
    Redactor(["zoë.quill", "zq-node7.cluster.example"], ["/home/zoë.quill"]),
]


def through(value, redactor):
    return msgpack.unpackb(DetailsEncoder(redactor).packed(value))


innocent = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="zZ"), max_size=8)


@tried(100)
@given(any_details(innocent))
def test_innocent_details_pass_unchanged(value):
    for redactor in REDACTORS:
        assert packed(through(value, redactor)) == packed(value)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/root", "<redacted>"),
        ("/root/data", "<redacted>/data"),
        ("/ROOT/x:/root/y", "<redacted>/x:<redacted>/y"),
        ("/home/zq/a", "<redacted>/a"),
        ("/scratch/zq/run", "/scratch/<redacted>/run"),
        ("/scratch/zq", "/scratch/<redacted>"),
        ("C:\\Users\\zq\\run", "C:\\Users\\<redacted>\\run"),
        ("~zq/run", "~<redacted>/run"),
        ("zq/run", "<redacted>/run"),
        ("/scratch/zqs/run", "/scratch/zqs/run"),
        ("/data/server/x", "/data/<redacted>/x"),
        ("server/client", "<redacted>/client"),
        ("the zq of server", "the zq of server"),
    ],
)
def test_short_and_common_names_go_inside_a_path(text, left):
    redactor = Redactor(["zq", "root", "server"], ["/root", "/home/zq"])
    assert through({"a": [text]}, redactor) == {"a": [left]}


@pytest.mark.parametrize("written", ["mi\u212ae", "m\u0130ke", "m\u0131ke", "mike\u017f", "MIKE"])
def test_letters_that_only_unicode_lowers_to_ascii(written):
    """U+212A is a K in any case-insensitive comparison, U+0130 and U+0131 are an i, U+017F is an s."""
    assert through({"a": written}, Redactor(["mike", "mikes"], [])) == {"a": "<redacted>"}


def test_each_name_of_the_home_and_of_the_user_counts(monkeypatch, tmp_path):
    """That of the variable, that behind its link, and that of the password entry."""
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    monkeypatch.setenv("HOME", f"{tmp_path}/link/")
    monkeypatch.setenv("LOGNAME", "zquill")
    redactor, entry = redaction.identity_redactor(), pwd.getpwuid(os.geteuid())
    for name in ("zquill", entry.pw_name, tmp_path / "link", tmp_path / "target", entry.pw_dir):
        assert through({"a": f"{name}/x"}, redactor) == {"a": "<redacted>/x"}


@pytest.mark.parametrize(
    ("variables", "known"),
    [
        ({"LOGNAME": "zquill", "USER": "trainbox", "USERNAME": "trainbox"}, "zquill"),
        ({"LOGNAME": "", "USER": "zquill", "USERNAME": "trainbox"}, "zquill"),
        ({"USERNAME": "zquill"}, "zquill"),
        ({}, ""),
        ({"LOGNAME": "zquill", "USER": "\udcffbob"}, "zquill"),
        ({"LOGNAME": "\udcffbob"}, "\udcffbob"),
    ],
)
def test_who_logged_in_is_whom_getpass_names(monkeypatch, variables, known):
    """The first variable that is set counts, else the password entry of the real user."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    asked = []
    entry = pwd.getpwuid(os.geteuid())
    monkeypatch.setattr(pwd, "getpwuid", lambda number: asked.append(number) or entry)
    redactor = redaction.identity_redactor()
    assert asked == ([] if known else [os.getuid()]) + [os.geteuid()]
    if known:
        assert getpass.getuser() == known
    if known.isascii():
        left = ["<redacted>" if known else "zquill", "trainbox"]
        assert through({"a": ["zquill", "trainbox"]}, redactor) == {"a": left}


@pytest.mark.parametrize("login", ["CORP\\zquill", "zquill@corp.example"])
def test_a_login_with_a_domain(monkeypatch, login):
    """The user's part alone is a name, too."""
    monkeypatch.setenv("LOGNAME", login)
    left = {"a": ["<redacted>", "<redacted>", "corp"]}
    assert through({"a": [login, "zquill", "corp"]}, redaction.identity_redactor()) == left


def test_a_home_that_is_the_root_redacts_nothing():
    """`/` is everybody's."""
    assert through({"a": "/ /x"}, Redactor(["", "x1"], ["", "/"])) == {"a": "/ /x"}
