"""The hook, on toy Flowers of both layouts; a real one is run in ``tests/e2e``."""

import functools
import importlib.util
import inspect
import json
import logging
import pickle
import sys
import textwrap
import threading
import warnings
import zipfile
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
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


@pytest.fixture(params=[NEWER, OLDER])
def telemetry(request, tmp_path, monkeypatch):
    write_flower(tmp_path / "flower", request.param)
    monkeypatch.syspath_prepend(tmp_path / "flower")
    return str(request.param)


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


def test_every_import_after_the_hook_gets_our_functions(telemetry, emitter):
    flower.install()
    module = load(telemetry)
    assert load("flwr.common").event is module.event
    assert load("flwr.common").event("PING").result() == "spooled"
    assert module.create_event("PING", None) == "spooled"
    assert (len(emitter.calls), emitter.packages) == (2, {"flwr"})


def test_flwr_datasets_reports_as_itself(tmp_path, monkeypatch, emitter):
    """Events of flwr-datasets and of ``flwr`` have the same names and different contexts."""
    write_flower(tmp_path / "datasets", DATASETS)
    monkeypatch.syspath_prepend(tmp_path / "datasets")
    flower.install()
    assert load("flwr_datasets.common").event("LOAD_SPLIT_CALLED", {"split": "train"}).done()
    assert load(DATASETS).create_event("PING", {}) == "spooled"
    assert emitter.packages == {"flwr-datasets"}
    assert [name for name, _ in emitter.calls] == ["LOAD_SPLIT_CALLED", "PING"]


def test_ours_look_like_those_that_they_replace(telemetry):
    flower.install()
    module = load(telemetry)
    for name in ("event", "create_event"):
        ours = getattr(module, name)
        assert (ours.__module__, ours.__qualname__) == (telemetry, name)
        assert inspect.signature(ours) == inspect.signature(ours.__wrapped__)
        assert pickle.loads(pickle.dumps(ours)) is ours


def test_a_no_to_flowers_module_is_a_no(telemetry, emitter):
    """A program that switches Flower's module off at run time, as its tests do, is obeyed."""
    flower.install()
    module = load(telemetry)
    module.FLWR_TELEMETRY_ENABLED = "0"
    assert module.event("PING").result() == "disabled"
    assert module.create_event("PING", None) == "disabled"
    assert emitter.calls == []
    module.FLWR_TELEMETRY_ENABLED = "1"
    assert module.event("PING").result() == "spooled"


@pytest.mark.parametrize(
    ("value", "result"), [("0", "disabled"), ("no", "disabled"), ("true", "spooled"), ("1", "spooled")]
)
def test_what_flower_has_read_of_the_variable_counts(telemetry, tmp_path, value, result):
    """Flower reads the variable once, when it is loaded; an opt-out of that moment stays one."""
    text = f"FLWR_TELEMETRY_ENABLED = {value!r}\n" + textwrap.dedent(TELEMETRY)
    write_flower(tmp_path / "flower", telemetry, text)
    flower.install()
    assert load(telemetry).event("PING").result() == result


def test_a_variable_that_says_no_is_for_our_emitter_to_obey(telemetry, emitter, tmp_path, monkeypatch):
    """The emitter itself records nothing, and logs the payload if logging is on, as Flower does."""
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    text = "import os\nFLWR_TELEMETRY_ENABLED = os.environ['FLWR_TELEMETRY_ENABLED']\n"
    write_flower(tmp_path / "flower", telemetry, text + textwrap.dedent(TELEMETRY))
    flower.install()
    emitter.answer = lambda future: future.set_result("disabled")
    assert load(telemetry).event("PING").result() == "disabled"
    assert emitter.calls == [("PING", None)]


def test_nothing_goes_where_the_program_does_not_want_it(telemetry, emitter, tmp_path, caplog, monkeypatch):
    """A program that gives Flower's module another address gets one warning, and nothing is reported."""
    text = "TELEMETRY_EVENTS_URL = 'https://one'\n" + textwrap.dedent(TELEMETRY)
    write_flower(tmp_path / "flower", telemetry, text)
    flower.install()
    module = load(telemetry)
    module.TELEMETRY_EVENTS_URL = "https://another"
    monkeypatch.setattr(log, "_warned", set())
    with caplog.at_level(logging.WARNING, "flwr-telemetry"):
        assert module.event("PING").result() == module.create_event("PING") == "disabled"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    module.TELEMETRY_EVENTS_URL = "https://one"
    assert module.event("PING", {"a": 1}).result() == "spooled"
    assert emitter.calls == [("PING", {"a": 1})]


def test_flower_meets_none_of_our_errors(telemetry, emitter):
    """Flower's exit reads the future's result unguarded; a failed event gives ``disabled``."""
    flower.install()
    emitter.answer = lambda future: future.set_exception(OSError("full"))
    module = load(telemetry)
    assert module.event("PING").result() == "disabled"
    assert module.create_event("PING", {}) == "disabled"


def test_a_create_event_of_the_programs_own_is_called(telemetry, emitter):
    flower.install()
    module = load(telemetry)
    ours, seen = module.create_event, []
    module.create_event = lambda name, details: seen.append((name, details)) or ours(name, details)
    with pytest.raises(AssertionError, match="Flower itself reports"):
        module.event("PING", {"a": 1})
    assert module.create_event("PING", {"a": 1}) == "spooled"
    assert seen == emitter.calls == [("PING", {"a": 1})]
    module.create_event = ours
    assert module.event("PING", {"a": 2}).result() == "spooled"


def test_a_create_event_that_wraps_ours_is_called(telemetry, emitter):
    """A wrapper has Flower's name and our attributes, and still is the program's own."""
    flower.install()
    module = load(telemetry)
    module.create_event = functools.wraps(module.create_event)(lambda *_: "the program's own")
    with pytest.raises(AssertionError, match="Flower itself reports"):
        module.event("PING")
    assert emitter.calls == []


def test_flowers_own_create_event_in_its_old_place_is_not_called(telemetry, emitter):
    """A patch that began before us puts it back at its end: Flower must not send for that."""
    module = load(telemetry)
    with mock.patch.object(module, "create_event"):
        flower.install()
    assert not hasattr(module.create_event, flower.MARK)
    assert module.event("PING").result() == "spooled"


def test_the_rest_of_the_module_stays_flowers_own(telemetry):
    flower.install()
    module = load(telemetry)
    assert module.EventType.__module__ == telemetry
    assert module.state == {"executor": None}


def test_flowers_call_forms_are_kept(telemetry, emitter):
    flower.install()
    module = load(telemetry)
    ping = module.EventType.PING
    assert module.event(ping).result() == "spooled"
    assert module.event(event_type=ping, event_details={"a": 1}).result() == "spooled"
    assert module.create_event(ping) == "spooled"
    assert module.create_event(ping, {"a": 2}) == "spooled"
    assert module.create_event(event_type=ping, event_details=None) == "spooled"
    assert emitter.calls == [("PING", details) for details in (None, {"a": 1}, None, {"a": 2}, None)]


def test_a_loaded_flower_is_changed_at_once(telemetry, emitter):
    module, common = load(telemetry), load("flwr.common")
    old = vars(common)["report"] = common.event
    users_own = ModuleType("users_own")
    users_own.event = old
    sys.modules["users_own"] = users_own
    sys.modules["flwr.absent"] = None  # how Python forbids an import
    flower.install()
    assert module.event is common.event is vars(common)["report"]
    assert module.event.__wrapped__ is old
    assert (module.event("PING").result(), module.create_event("PING")) == ("spooled", "spooled")
    assert vars(sys.modules.pop("users_own"))["event"] is module.event


def test_a_module_that_cannot_be_asked_stops_nothing(telemetry, tmp_path, monkeypatch):
    """An object that is no module, and a lazy module whose import would fail, are skipped."""
    monkeypatch.setitem(sys.modules, "absent", None)
    (tmp_path / "flower" / "failing.py").write_text("raise ImportError")
    spec = importlib.util.find_spec("failing")
    assert spec is not None
    assert spec.loader is not None
    lazy = importlib.util.LazyLoader(spec.loader)
    spec.loader = lazy
    sys.modules["failing"] = importlib.util.module_from_spec(spec)
    lazy.exec_module(sys.modules["failing"])
    module, common = load(telemetry), load("flwr.common")
    flower.install()
    del sys.modules["failing"]
    assert common.event is module.event
    assert hasattr(module.event, flower.MARK)
    assert hasattr(module.create_event, flower.MARK)


def test_installing_twice_changes_nothing(telemetry):
    flower.install()
    module = load(telemetry)
    before = dict(vars(module)), list(sys.meta_path)
    flower.install()
    assert (dict(vars(module)), list(sys.meta_path)) == before


def test_a_reload_is_adopted_again(telemetry, emitter):
    flower.install()
    module = load(telemetry)
    before = module.event
    assert importlib.reload(module).event("PING", {"a": 1}).result() == "spooled"
    assert module.event is not before
    assert before("PING", {"a": 2}).result() == "spooled"
    assert emitter.calls == [("PING", {"a": 1}), ("PING", {"a": 2})]


def test_the_module_keeps_its_own_loader(telemetry, tmp_path):
    flower.install()
    module = load(telemetry)
    own = importlib.machinery.SourceFileLoader
    assert module.__spec__ is not None
    assert type(module.__spec__.loader) is type(module.__loader__) is own
    assert inspect.getsource(module) == textwrap.dedent(TELEMETRY)
    assert str(module.__file__).startswith(str(tmp_path))


def test_a_spec_that_is_only_looked_at_answers_as_its_own(telemetry):
    """The loader of a spec that is never executed has all attributes of Flower's own loader."""
    flower.install()
    spec = importlib.util.find_spec(telemetry)
    assert spec is not None
    loader = spec.loader
    assert loader.is_package(telemetry) is False
    assert loader.get_source(telemetry) == textwrap.dedent(TELEMETRY)
    assert importlib.util.find_spec("flwr.common.nothing") is None


def test_a_lazy_loader_is_adopted(telemetry, emitter):
    flower.install()
    spec = importlib.util.find_spec(telemetry)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules[telemetry] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.event("PING").result() == "spooled"


def test_a_flower_in_a_zip_archive_is_adopted(tmp_path, monkeypatch, emitter):
    """One importer serves all modules of an archive, and none of the others is touched."""
    write_flower(tmp_path / "flower", NEWER)
    with zipfile.ZipFile(tmp_path / "flower.zip", "w") as archive:
        for path in (tmp_path / "flower").rglob("*.py"):
            archive.write(path, path.relative_to(tmp_path / "flower"))
    monkeypatch.syspath_prepend(tmp_path / "flower.zip")
    flower.install()
    assert load("flwr.common").event("PING").result() == "spooled"
    assert ".zip" in str(load(NEWER).__file__)


def test_without_flower_python_says_so_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    flower.install()
    with pytest.raises(ModuleNotFoundError, match="No module named 'flwr'"):
        load(NEWER)


def test_a_flower_that_fails_to_load_fails_as_ever(tmp_path, monkeypatch):
    write_flower(tmp_path / "flower", NEWER, "raise OSError('no pool')")
    monkeypatch.syspath_prepend(tmp_path / "flower")
    flower.install()
    with pytest.raises(OSError, match="no pool"):
        load(NEWER)
    assert NEWER not in sys.modules


def test_a_flower_without_the_functions_is_left_alone(tmp_path, monkeypatch):
    """A release that reports in another way than we know gets nothing that it did not have."""
    write_flower(tmp_path / "flower", NEWER, "EventType = event = None")
    monkeypatch.syspath_prepend(tmp_path / "flower")
    flower.install()
    module = load(NEWER)
    assert module.event is None
    assert not hasattr(module, "create_event")


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


@pytest.mark.parametrize("before", [True, False], ids=["before_us", "behind_us"])
def test_hooks_of_others_get_along_with_ours(telemetry, emitter, *, before):
    flower.install()
    sys.meta_path.insert(0 if before else 1, _Asking())
    module = load(telemetry)
    assert module.event("PING").result() == "spooled"
    assert module.__spec__ is not None
    assert type(module.__spec__.loader) is importlib.machinery.SourceFileLoader


def test_a_finder_that_comes_later_hides_nothing(telemetry, emitter, tmp_path):
    """One that finds all of Flower by itself, as those of type checkers do, finds it behind us."""

    class Their(importlib.machinery.SourceFileLoader):
        pass

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if not name.startswith("flwr"):
                return None
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            assert spec is not None
            assert spec.origin is not None
            spec.loader = Their(name, spec.origin)
            return spec

    flower.install()
    sys.meta_path.insert(0, Finder())
    (tmp_path / "flower" / "something_else.py").touch()
    load("something_else")
    del sys.modules["something_else"]
    module = load(telemetry)
    assert type(module.__loader__) is Their
    assert module.event("PING").result() == "spooled"


def test_a_finder_of_the_old_kind_is_passed_over(telemetry, emitter):
    flower.install()

    class Old:
        def find_module(self, name, path=None):
            return None

    sys.meta_path.insert(1, Old())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        assert load(telemetry).event("PING").result() == "spooled"


def test_a_finder_that_fails_fails_as_without_us(telemetry):
    class Broken:
        def find_spec(self, name, path, target):
            if name == telemetry:
                message = "a finder of theirs"
                raise ImportError(message)

    flower.install()
    sys.meta_path.insert(1, Broken())
    with pytest.raises(ImportError, match="a finder of theirs"):
        load(telemetry)


def test_threads_that_import_at_once_all_get_ours(telemetry, emitter):
    flower.install()
    together = threading.Barrier(8)
    seen = []

    def importing():
        together.wait()
        seen.append(load(telemetry).event("PING").result())

    threads = [threading.Thread(target=importing) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["spooled"] * 8


def test_without_our_emitter_flower_falls_silent(telemetry, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "flwr_telemetry.flower.functions", None)
    monkeypatch.delattr(flower, "functions", raising=False)
    flower.install()
    with caplog.at_level(logging.WARNING, "flwr-telemetry"):
        module = load(telemetry)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert module.event(module.EventType.PING).result() == "disabled"
    assert module.create_event(module.EventType.PING, {}) == "disabled"


def test_the_hook_loads_nothing_until_flower_comes(home):
    """A process that never imports Flower pays for this module and its package alone."""
    code = """
        import json, sys
        before = set(sys.modules)
        import flwr_telemetry.flower
        flwr_telemetry.flower.install()
        print(json.dumps(sorted(set(sys.modules) - before - {"__future__"})))
    """
    source_root = str(Path(flwr_telemetry.__file__).parents[1])
    # Without ``site``, so that nothing of the machine's own is loaded before.
    done = processes.run(home, ["-S", "-c", textwrap.dedent(code)], {"PYTHONPATH": source_root})
    assert json.loads(done.stdout) == ["flwr_telemetry", "flwr_telemetry.flower"]
