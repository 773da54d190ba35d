"""The text of a unit: what is filled in, how it is spelt, and whose it is."""

from pathlib import Path

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Consent, Settings
from flwr_telemetryd.admin.service import unit
from flwr_telemetryd.admin.service.machine import Machine, this_machine
from flwr_telemetryd.admin.service.unit import Author
from flwr_telemetryd.errors import ServiceError

_HOME = Path("/home/a/.flwr")


def _needs(**changes):
    known = {
        "interpreter": "/v/bin/python",
        "home": _HOME,
        "is_default": True,
        "writes": (_HOME / "telemetry",),
    }
    return Machine(**{**known, **changes})


def _line(name, **changes):
    text = unit.render(unit.shipped(unit.SERVICE), _needs(**changes))
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return line


def test_what_needs_no_quotes_gets_none():
    """An ordinary unit is easy to read, and a home that is found anyway is not named."""
    assert _line("ExecStart=") == "ExecStart=/v/bin/python -P -m flwr_telemetryd --service"
    assert _line("ReadWritePaths=") == "ReadWritePaths=-/home/a/.flwr/telemetry"
    assert "FLWR_HOME" not in unit.render(unit.shipped(unit.SERVICE), _needs())
    assert "--once" in unit.render(unit.shipped(unit.ONCE), _needs())


@pytest.mark.parametrize(
    ("path", "command", "variable", "paths"),
    [
        ("/a b", '"/a b"', '"FLWR_HOME=/a b"', '"-/a b"'),
        ("/a%b", "/a%%b", "FLWR_HOME=/a%%b", "-/a%%b"),
        ("/a$b", ':"/a$b"', '"FLWR_HOME=/a$b"', '"-/a$b"'),
        (r"/a\b", r'/usr/bin/env "/a\\b"', r'"FLWR_HOME=/a\\b"', r'"-/a\\b"'),
        ('/a"b', r'/usr/bin/env "/a\"b"', r'"FLWR_HOME=/a\"b"', r'"-/a\"b"'),
        ("/a;b", '"/a;b"', '"FLWR_HOME=/a;b"', '"-/a;b"'),
        ("/ä", "/ä", "FLWR_HOME=/ä", "-/ä"),
    ],
)
def test_each_grammar(path, command, variable, paths):
    """Blanks, specifiers, variables, escapes and quotes; a real systemd reads them in another test."""
    changes = {"interpreter": path, "home": Path(path), "is_default": False, "writes": (Path(path),)}
    assert _line("ExecStart=", **changes) == f"ExecStart={command} -P -m flwr_telemetryd --service"
    assert _line("ReadWritePaths=", **changes) == f"ReadWritePaths={paths}"
    assert f"\nEnvironment={variable}\n" in unit.render(unit.shipped(unit.SERVICE), _needs(**changes))


@pytest.mark.parametrize("path", ["/a\nExecStart=/bin/evil", "/a\t", "/a\udcff"])
def test_what_no_unit_can_say(path):
    """A line feed would be another line of the unit."""
    with pytest.raises(ServiceError, match="cannot be named in a unit"):
        unit.render(unit.shipped(unit.SERVICE), _needs(writes=(Path(path),)))


def test_what_a_unit_says_of_itself_is_found_again():
    """Its home and interpreter, and where its service may write, whatever they are called."""
    odd = Path('/o "dd\\%')
    text = unit.render(unit.shipped(unit.SERVICE), _needs(home=odd, writes=(_HOME, odd)))
    assert unit.note_of(unit.sealed(text)) == {"home": str(odd), "interpreter": "/v/bin/python"}
    assert unit.note_of("[Unit]\n") == unit.note_of("# It serves {\n") == {}
    assert unit.allows(text, odd)
    assert unit.allows(text, odd / "below")
    assert not unit.allows(text, Path("/o"))


def test_on_which_machines_it_runs():
    """On this and those named before, each once, in what a session starts; or nothing is said of it."""
    text = unit.render(unit.shipped(unit.SERVICE), _needs(host="b"), ["c", "a", "b"])
    assert unit.hosts_of(text) == ["a", "b", "c"]
    assert text.index("[Unit]") < text.index("\nConditionHost=|a\n") < text.index("[Service]")
    assert unit.hosts_of(unit.render(unit.shipped(unit.TIMER), _needs(host="b"))) == ["b"]
    assert unit.hosts_of(unit.render(unit.shipped(unit.ONCE), _needs(host="b"))) == []
    assert unit.hosts_of(unit.render(unit.shipped(unit.SERVICE), _needs(), ["a"])) == []


def test_whose_a_text_is():
    """One byte more or less is an edit; what has no first line of ours is not ours."""
    ours = unit.sealed("a\nb\n")
    assert unit.author(None) is Author.NOBODY
    assert unit.author(ours) is Author.OURS
    assert unit.author(ours + "\n") is unit.author(ours[:-1]) is Author.EDITED
    assert unit.author("a\nb\n") is unit.author("") is unit.author("#\n" + ours) is Author.FOREIGN


def test_needs(tmp_path, monkeypatch):
    """The proxy and the libraries of Python, but no token of the shell; where it writes, and no further."""
    monkeypatch.setattr("sys.executable", "/v/bin/python")
    environ = {"HTTPS_PROXY": "http://p:1", "LD_LIBRARY_PATH": "/lib", "TOKEN": "secret", "PATH": "/bin"}
    consent = Consent(enabled=True, decided_by="default", reason="")
    found = this_machine(Home(_HOME), Settings(consent, url=f"file://{tmp_path}/a%20b/c.jsonl"), environ)
    assert found.variables == {"HTTPS_PROXY": "http://p:1", "LD_LIBRARY_PATH": "/lib"}
    assert found.writes == (_HOME / "telemetry", (tmp_path / "a b").resolve())
    assert found.is_default is False
    inside = this_machine(Home(_HOME), Settings(consent, url=f"file://{_HOME}/telemetry/c.jsonl"), environ)
    assert inside.writes == (_HOME / "telemetry",)
    assert this_machine(Home(Path("/var/tmp/x")), Settings(consent), environ).private_tmp is False
