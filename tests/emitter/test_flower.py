"""The hook, on toy Flowers of both layouts; a real one is run in ``tests/e2e``."""

import functools
import importlib.util
import inspect
import json
import logging
import pickle
import sys
import textwrap
import zipfile
from concurrent.futures import Future
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

import pytest

import flwr_telemetry
from flwr_telemetry import emit, flower, log
from tests.support import processes

NEWER, OLDER = "flwr.supercore.telemetry", "flwr.common.telemetry"
DATASETS = "flwr_datasets.common.telemetry"

TELEMETRY = """
    from enum import Enum

    class EventType(str, Enum):
        PING = "PING"

    state = {"executor": None}

    def event(event_type, event_details=None):
        raise AssertionError("Flower itself reports")

    def create_event(event_type, event_details):
        raise AssertionError("Flower itself reports")
"""


class Emitter:
    """Stands in for our ``report`` and records its calls."""

    def __init__(self):
        self.calls = []
        self.packages = set()
        self.answer = lambda future: future.set_result("spooled")

    def __call__(self, package, event_type, event_details):
        self.packages.add(package)
        self.calls.append((str(getattr(event_type, "value", event_type)), event_details))
        future = Future()
        self.answer(future)
        return future


@pytest.fixture(autouse=True)
def emitter(monkeypatch):
    ours = Emitter()
    monkeypatch.setattr(emit, "report", ours)
    return ours


@pytest.fixture(autouse=True)
def _imports_of_its_own(monkeypatch):
    """Give each test finders of its own, and no Flower that another has loaded."""
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, flower._Finder)])

    def flowers():
        return [name for name in sys.modules if name.partition(".")[0] in ("flwr", "flwr_datasets")]

    theirs = {name: sys.modules.pop(name) for name in flowers()}
    yield
    for name in flowers():
        del sys.modules[name]
    sys.modules.update(theirs)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Give a function that makes a toy Flower importable, as the real one is, and installs the hook."""
    monkeypatch.syspath_prepend(tmp_path / "flower")

    def install(telemetry=NEWER, text=TELEMETRY, before=""):
        write_flower(tmp_path / "flower", telemetry, before + textwrap.dedent(text))
        flower.install()

    return install


@pytest.fixture(params=[NEWER, OLDER])
def telemetry(request, tmp_path, monkeypatch):
    """Give the name of the telemetry module of a toy Flower of the newer or the older layout."""
    write_flower(tmp_path / "flower", request.param)
    monkeypatch.syspath_prepend(tmp_path / "flower")
    return request.param


@pytest.fixture
def module(telemetry):
    flower.install()
    return load(telemetry)


def write_flower(root, telemetry, text=TELEMETRY):
    """Write a Flower with that telemetry module; its ``….common`` passes ``event`` on, as the real one."""
    top = telemetry.partition(".")[0]
    for package in (top, f"{top}/common", f"{top}/supercore"):
        (root / package).mkdir(parents=True, exist_ok=True)
        (root / package / "__init__.py").touch()
    (root / top / "common/__init__.py").write_text(f"from {telemetry} import EventType, event as event\n")
    (root / (telemetry.replace(".", "/") + ".py")).write_text(textwrap.dedent(text))


def load(name):
    return importlib.import_module(name)


BOTH_SPOOLED, BOTH_DISABLED = ("spooled", "spooled"), ("disabled", "disabled")


def results(module):
    return module.event("PING").result(), module.create_event("PING", None)


def test_every_import_after_the_hook_gets_our_functions(module, telemetry, emitter, tmp_path):
    """Documented and pickled as Flower's; all else of the module, and its loader, are Flower's own."""
    assert load("flwr.common").event is module.event
    assert results(module) == BOTH_SPOOLED
    assert (len(emitter.calls), emitter.packages) == (2, {"flwr"})
    for name in ("event", "create_event"):
        ours = getattr(module, name)
        assert (ours.__module__, ours.__qualname__) == (telemetry, name)
        assert inspect.signature(ours) == inspect.signature(ours.__wrapped__)
        assert pickle.loads(pickle.dumps(ours)) is ours
    assert (module.EventType.__module__, module.state) == (telemetry, {"executor": None})
    assert type(module.__spec__.loader) is type(module.__loader__) is SourceFileLoader
    assert inspect.getsource(module) == textwrap.dedent(TELEMETRY)
    assert str(module.__file__).startswith(str(tmp_path))


def test_flwr_datasets_reports_as_itself(install, emitter):
    """Events of flwr-datasets and of ``flwr`` have the same names and different contexts."""
    install(DATASETS)
    assert load("flwr_datasets.common").event("LOAD_SPLIT_CALLED", {"split": "train"}).done()
    assert load(DATASETS).create_event("PING", {}) == "spooled"
    assert emitter.packages == {"flwr-datasets"}
    assert [name for name, _ in emitter.calls] == ["LOAD_SPLIT_CALLED", "PING"]


@pytest.mark.parametrize(
    ("value", "told"), [(None, BOTH_SPOOLED), ("no", BOTH_DISABLED), ("true", BOTH_SPOOLED)]
)
def test_an_opt_out_of_flowers_module_is_obeyed(telemetry, install, emitter, value, told):
    """Flower reads the variable once, when it is loaded; a program may change its module at run time."""
    install(telemetry, before="" if value is None else f"FLWR_TELEMETRY_ENABLED = {value!r}\n")
    module = load(telemetry)
    assert results(module) == told
    assert len(emitter.calls) == 2 * (told == BOTH_SPOOLED)
    module.FLWR_TELEMETRY_ENABLED = "0" if told == BOTH_SPOOLED else "1"
    assert {results(module), told} == {BOTH_SPOOLED, BOTH_DISABLED}


def test_a_variable_that_says_no_is_for_our_emitter_to_obey(telemetry, install, emitter, monkeypatch):
    """The emitter itself records nothing, and logs the payload if logging is on, as Flower does."""
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    text = "import os\nFLWR_TELEMETRY_ENABLED = os.environ['FLWR_TELEMETRY_ENABLED']\n"
    install(telemetry, before=text)
    emitter.answer = lambda future: future.set_result("disabled")
    assert results(load(telemetry)) == BOTH_DISABLED
    # Nor does Flower meet our errors: its exit reads the result of the future unguarded.
    emitter.answer = lambda future: future.set_exception(OSError("full"))
    assert results(load(telemetry)) == BOTH_DISABLED
    assert emitter.calls == [("PING", None)] * 4


def test_nothing_goes_where_the_program_does_not_want_it(telemetry, install, emitter, caplog, monkeypatch):
    """A program that gives Flower's module another address gets one warning, and nothing is reported."""
    install(telemetry, before="TELEMETRY_EVENTS_URL = 'https://one'\n")
    module = load(telemetry)
    module.TELEMETRY_EVENTS_URL = "https://another"
    monkeypatch.setattr(log, "_warned", set())
    with caplog.at_level(logging.WARNING, "flwr-telemetry"):
        assert results(module) == BOTH_DISABLED
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    module.TELEMETRY_EVENTS_URL = "https://one"
    assert module.event("PING", {"a": 1}).result() == "spooled"
    assert emitter.calls == [("PING", {"a": 1})]


def test_a_create_event_of_the_programs_own_is_called(module, emitter):
    """Also one with Flower's name and our attributes, because it wraps ours."""
    ours, seen = module.create_event, []
    module.create_event = lambda name, details: seen.append((name, details)) or ours(name, details)
    with pytest.raises(AssertionError, match="Flower itself reports"):
        module.event("PING", {"a": 1})
    assert module.create_event("PING", {"a": 1}) == "spooled"
    assert seen == emitter.calls == [("PING", {"a": 1})]
    module.create_event = functools.wraps(ours)(lambda *_: "the program's own")
    with pytest.raises(AssertionError, match="Flower itself reports"):
        module.event("PING")
    assert len(emitter.calls) == 1
    module.create_event = ours
    assert module.event("PING", {"a": 2}).result() == "spooled"


def test_flowers_own_create_event_in_its_old_place_is_not_called(telemetry):
    """A patch that began before us puts it back at its end: Flower must not send for that."""
    module = load(telemetry)
    with mock.patch.object(module, "create_event"):
        flower.install()
    assert not hasattr(module.create_event, flower.MARK)
    assert module.event("PING").result() == "spooled"


def lazily(name):
    """Load a module that is executed when something of it is first asked for."""
    spec = importlib.util.find_spec(name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_loaded_flower_is_changed_at_once(telemetry, tmp_path, monkeypatch):
    """Beside an object that is no module, and a lazy module whose import would fail."""
    module, common = load(telemetry), load("flwr.common")
    old = vars(common)["report"] = common.event
    users_own = ModuleType("users_own")
    users_own.event = old
    monkeypatch.setitem(sys.modules, "users_own", users_own)
    monkeypatch.setitem(sys.modules, "flwr.absent", None)  # how Python forbids an import
    (tmp_path / "flower" / "failing.py").write_text("raise ImportError")
    lazily("failing")
    flower.install()
    del sys.modules["failing"]
    assert module.event is common.event is vars(common)["report"] is users_own.event
    assert module.event.__wrapped__ is old
    assert hasattr(module.create_event, flower.MARK)
    assert results(module) == BOTH_SPOOLED


def test_a_second_installation_changes_nothing_and_a_reload_is_adopted_again(module, emitter):
    state, before = (dict(vars(module)), list(sys.meta_path)), module.event
    flower.install()
    assert (dict(vars(module)), list(sys.meta_path)) == state
    assert importlib.reload(module).event("PING", {"a": 1}).result() == "spooled"
    assert module.event is not before
    assert before("PING", {"a": 2}).result() == "spooled"
    assert emitter.calls == [("PING", {"a": 1}), ("PING", {"a": 2})]


def test_a_spec_that_is_only_looked_at_answers_as_its_own(telemetry):
    """The loader of a spec that is never executed has all attributes of Flower's own loader."""
    flower.install()
    loader = importlib.util.find_spec(telemetry).loader
    assert loader.is_package(telemetry) is False
    assert loader.get_source(telemetry) == textwrap.dedent(TELEMETRY)
    assert importlib.util.find_spec("flwr.common.nothing") is None


def test_a_lazy_loader_is_adopted(telemetry):
    flower.install()
    assert lazily(telemetry).event("PING").result() == "spooled"


def test_a_flower_in_a_zip_archive_is_adopted(tmp_path, monkeypatch):
    """One importer serves all modules of an archive, and none of the others is touched."""
    write_flower(tmp_path / "flower", NEWER)
    with zipfile.ZipFile(tmp_path / "flower.zip", "w") as archive:
        for path in (tmp_path / "flower").rglob("*.py"):
            archive.write(path, path.relative_to(tmp_path / "flower"))
    monkeypatch.syspath_prepend(tmp_path / "flower.zip")
    flower.install()
    assert load("flwr.common").event("PING").result() == "spooled"
    assert ".zip" in str(load(NEWER).__file__)


def test_a_flower_that_fails_to_load_or_has_not_the_functions(install):
    """It fails as ever, and a release that reports in another way gets nothing that it did not have."""
    install(text="raise OSError('no pool')")
    with pytest.raises(OSError, match="no pool"):
        load(NEWER)
    assert NEWER not in sys.modules
    install(text="EventType = event = None  # another size of the file, so that no cache counts")
    assert load(NEWER).event is None
    assert not hasattr(load(NEWER), "create_event")


class _Asking:
    """A finder like those of other import hooks: it calls all finders, and guards against itself."""

    def __init__(self):
        self.inside = False

    def find_spec(self, name, path=None, target=None):
        if self.inside or not name.startswith("flwr."):
            return None
        self.inside = True
        try:
            return importlib.util.find_spec(name)
        finally:
            self.inside = False


# Where it stands in the list, ours being the first.
OF_THE_OLD_KIND = SimpleNamespace(find_module=lambda _name, _path=None: None)
OTHERS = {"before_us": (0, _Asking()), "behind_us": (1, _Asking()), "of_the_old_kind": (1, OF_THE_OLD_KIND)}


@pytest.mark.filterwarnings("ignore::ImportWarning")
@pytest.mark.parametrize(("place", "finder"), OTHERS.values(), ids=OTHERS)
def test_hooks_of_others_get_along_with_ours(telemetry, place, finder):
    flower.install()
    sys.meta_path.insert(place, finder)
    module = load(telemetry)
    assert module.event("PING").result() == "spooled"
    assert type(module.__spec__.loader) is SourceFileLoader


def test_a_finder_that_comes_later_hides_nothing(telemetry):
    class Their(SourceFileLoader):
        pass

    def find_spec(name, path=None, target=None):
        if not name.startswith("flwr"):
            return None
        spec = PathFinder.find_spec(name, path, target)
        spec.loader = Their(name, spec.origin)
        return spec

    flower.install()
    sys.meta_path.insert(0, SimpleNamespace(find_spec=find_spec))
    assert importlib.util.find_spec("something_else") is None
    module = load(telemetry)
    assert type(module.__loader__) is Their
    assert module.event("PING").result() == "spooled"


def test_a_finder_that_fails_fails_as_without_us(telemetry):
    def find_spec(name, path, target):
        if name == telemetry:
            raise ImportError("a finder of theirs")

    flower.install()
    sys.meta_path.insert(1, SimpleNamespace(find_spec=find_spec))
    with pytest.raises(ImportError, match="a finder of theirs"):
        load(telemetry)


def test_without_our_emitter_flower_falls_silent(telemetry, monkeypatch, caplog):
    """If our own part cannot be loaded nothing is reported, nothing fails, and one warning says so."""
    monkeypatch.setitem(sys.modules, "flwr_telemetry.flower.functions", None)
    monkeypatch.delattr(flower, "functions", raising=False)
    flower.install()
    with caplog.at_level(logging.WARNING, "flwr-telemetry"):
        module = load(telemetry)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert results(module) == BOTH_DISABLED


def test_the_hook_loads_nothing_until_flower_comes(home):
    """A process that never imports Flower pays for this module and its package alone."""
    code = """if True:
        import json, sys
        before = set(sys.modules)
        import flwr_telemetry.flower
        flwr_telemetry.flower.install()
        print(json.dumps(sorted(set(sys.modules) - before - {"__future__"})))
    """
    # Without ``site``, so that nothing of the machine's own is loaded before.
    done = processes.run(
        home, ["-S", "-c", code], {"PYTHONPATH": str(Path(flwr_telemetry.__file__).parents[1])}
    )
    assert json.loads(done.stdout) == ["flwr_telemetry", "flwr_telemetry.flower"]
