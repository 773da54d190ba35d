"""The context has Flower's own values, computed cheaply, and only declared fields."""

import json
import os
import sys
import uuid
from types import SimpleNamespace

import pytest

from flwr_telemetry import context, identity, record
from flwr_telemetry.emitter import Emitter
from flwr_telemetryd.burst.codec import Coalescer, expand
from tests.support import homes, processes, records

ADDED_BY_THE_SIDECAR = {"context.hw.cpu_count_physical", "context.hw.memory_gib"}
OF_A_BURST = ["burst.count", "burst.clusters", "burst.varying", "burst.events"]

COMPARE = """
from flwr_telemetry import identity
ours = identity.static_context("flwr", ("flwr", "1"))
import os, platform
theirs = {
    "flower": {"package_name": "flwr", "package_version": "1"},
    "hw": {"cpu_count": os.cpu_count()},
    "platform": {
        "system": platform.system(),
        "release": platform.release(),
        "platform": platform.platform(),
        "python_implementation": platform.python_implementation(),
        "python_version": platform.python_version(),
        "machine": platform.machine(),
        "architecture": list(platform.architecture()),
        "version": platform.version(),
    },
}
print(json.dumps([ours, theirs]))
"""


@pytest.mark.parametrize("programs", ["as_it_is", "none", "unset", "file_alone"])
def test_the_values_are_those_of_the_platform_module(home, tmp_path, programs):
    directory = tmp_path / "programs"
    directory.mkdir()
    if programs == "file_alone":
        (directory / "file").symlink_to("/usr/bin/file")
    path = {"as_it_is": os.environ["PATH"], "unset": None}.get(programs, str(directory))
    ours, theirs = processes.answers(home, COMPARE, {"PATH": path})
    assert ours == theirs
    assert [list(ours[name]) for name in ours] == [list(theirs[name]) for name in theirs]


def flattened(value, prefix=""):
    """Give the names of an event with dots, in order, without those inside the caller's details."""
    names = []
    for name, item in value.items():
        inner = isinstance(item, dict) and name != "event_details"
        names += flattened(item, f"{prefix}{name}.") if inner else [prefix + name]
    return names


# By package: the declared fields that its events do not have.
ABSENT = {
    "flwr": {"context.package.package_name", "context.package.package_version"},
    "flwr-datasets": {"context.partner", "context.flower.package_name", "context.flower.package_version"},
}


@pytest.mark.parametrize("package", identity.PACKAGES)
def test_nothing_undeclared_gets_in(home, package):
    homes.configure(home, sidecar="never")
    emitter = Emitter(lambda _cause, text: pytest.fail(text))
    assert emitter.emit("PING", {"a": {"b": 1}}, package).result() == "spooled"
    (event,) = homes.spooled(home)
    declared = [field.name for field in context.FIELDS if field.name not in ABSENT[package]]
    assert declared[-4:] == OF_A_BURST
    plain = declared[:-4]
    assert flattened(event) == [name for name in plain if name not in ADDED_BY_THE_SIDECAR]
    coalescer = Coalescer(hardware={"cpu_count_physical": 4, "memory_gib": 16})
    (body,) = [*coalescer.add(event), *coalescer.add(event), *coalescer.finish()]
    assert flattened(json.loads(body)) == declared
    assert [flattened(member) for member in expand(body)] == [plain, plain]


@pytest.mark.parametrize(
    ("newer", "older"),
    [(("flwr-nightly", "1.42.0.dev1"), None), (None, ("flwr", "1.8.0")), ((None, None), ("flwr", "1.8.0"))],
)
def test_a_loaded_flower_knows_its_version(newer, older, monkeypatch):
    for holder in identity.PACKAGES["flwr"].holders:
        monkeypatch.delitem(sys.modules, holder, raising=False)
    for holder, told in {"flwr.supercore.version": newer, "flwr.common.version": older}.items():
        if told is not None:
            holds = SimpleNamespace(package_name=told[0], package_version=told[1])
            monkeypatch.setitem(sys.modules, holder, holds)
    assert identity.package_version("flwr") == (older or newer)


UNAME = """
import sys, types
release, version, package_version = TOLD
fake = os.uname_result(("Linux", "carol-laptop", release, version, "x86_64"))
os.uname = lambda: fake
holder = sys.modules["flwr.supercore.version"] = types.ModuleType("version")
holder.package_name, holder.package_version = "flwr", package_version
assert outcome(event("PING")) == "spooled"
"""


@pytest.mark.parametrize(
    ("told", "left"),
    [
        (
            ["6.12.3-carol-laptop", "#1-alice SMP alice@carol-laptop", "1.41.0+alice.carol.laptop"],
            ["6.12.3-<redacted>", "#1-<redacted> SMP <redacted>@<redacted>", "1.41.0+<redacted>.<redacted>"],
        ),
        (
            ["6.12.3-CAROL_LAPTOP+", "#1 (Alice@carol-laptop.lan)", "1.41.0.dev3+CAROL-LAPTOP"],
            ["6.12.3-<redacted>+", "#1 (<redacted>@<redacted>.lan)", "1.41.0.dev3+<redacted>"],
        ),
        (["6.1.0-generic", "#1 SMP Debian 6.1.0-1 (2026-11-22)", "1.42.0+alicent"], None),
    ],
)
def test_the_context_is_redacted_as_the_details_are(home, told, left):
    """A kernel or a version of one's own often names its maker. All other values stay Flower's."""
    names = {**processes.NEVER, "LOGNAME": "alice", "USER": "alice"}
    processes.workload(home, UNAME.replace("TOLD", repr(told)), names)
    segment = homes.host(home, "carol-laptop") / "spool/events.msgpack"
    (event,) = records.decode(segment.read_bytes())
    platform, flower = event["context"]["platform"], event["context"]["flower"]
    release, version, number = left or told
    assert [platform["release"], platform["version"], flower["package_version"]] == [release, version, number]
    assert platform["platform"].startswith(f"Linux-{release}-x86_64-with")
    assert (platform["system"], platform["machine"]) == ("Linux", "x86_64")
    assert flower["package_name"] == "flwr"


BROKEN = {
    "no_interpreter": "sys.executable = None",
    "an_empty_interpreter": "sys.executable = ''",
    "an_interpreter_that_is_gone": "sys.executable = '/gone/python3'",
    "an_interpreter_with_a_nul": "sys.executable = 'a\\0b'",
    "platform_raises": "for name in PLATFORM: setattr(platform, name, broken)",
    "platform_is_mocked": "for name in PLATFORM: setattr(platform, name, mock.MagicMock())",
    "platform_is_endless": "for name in PLATFORM: setattr(platform, name, lambda *_, **__: 'x' * 10**6)",
    "platform_is_no_unicode": "for name in PLATFORM: setattr(platform, name, lambda *_, **__: '\\ud800')",
    "no_count": "os.cpu_count = lambda: None",
    "a_huge_count": "os.cpu_count = lambda: 2**70",
    "no_uname": "os.uname = broken",
    "a_mocked_uname": "os.uname = mock.MagicMock()",
    "another_platform": "sys.platform = 'win32'",
    "no_users": "pwd.getpwuid = broken",
    "no_home": "os.path.expanduser = broken",
    "no_random_ids": "import uuid; uuid.uuid4 = broken",
    "no_uuids": "import uuid; uuid.UUID = broken",
    "ids_that_are_none": "import uuid; uuid.uuid4 = mock.MagicMock()",
    "no_metadata": "importlib.metadata.version = broken",
    "a_mocked_version": "importlib.metadata.version = mock.MagicMock()",
    "a_locale_that_raises": "locale.getpreferredencoding = locale.getlocale = broken",
}
BROKEN_SETUP = """
import importlib.metadata, locale, os, platform, pwd, sys
from unittest import mock
PLATFORM = "system release platform python_implementation python_version machine version architecture".split()
PLATFORM += ["uname", "libc_ver"]

class No(Exception):
    pass

def broken(*_, **__):
    raise No

"""


@pytest.mark.parametrize("setup", BROKEN.values(), ids=BROKEN)
def test_a_field_that_cannot_be_computed_costs_no_event(home, setup):
    """It is `unknown`, or what Flower itself says then, and all others are as ever."""
    homes.configure(home, sidecar="never")
    code = f"{BROKEN_SETUP}{setup}\nprint(json.dumps([outcome(event('PING', {{'n': 1}})) for _ in range(2)]))"
    assert processes.answers(home, code) == ["spooled"] * 2
    for event in homes.spooled(home):
        record.check_event(event)
        assert {uuid.UUID(event["context"][name]).version for name in ("source", "cluster")} == {4}
        declared = [field.name for field in context.FIELDS if field.name not in ABSENT["flwr"]]
        assert flattened(event) == [name for name in declared[:-4] if name not in ADDED_BY_THE_SIDECAR]
        where, hardware = event["context"]["platform"], event["context"]["hw"]["cpu_count"]
        assert where["python_version"] == sys.version.split()[0]
        assert hardware == ("unknown" if "cpu_count" in setup else os.cpu_count())
