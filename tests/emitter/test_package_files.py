"""Where this process finds the packages of a sidecar; `test_spawn` starts sidecars from there."""

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest

import flwr_telemetry
import flwr_telemetryd
from flwr_telemetry import package_files
from flwr_telemetry.errors import StartError


def test_what_the_process_has_loaded_comes_first(monkeypatch, tmp_path):
    """A module without a file, such as a mock, is looked for on the path. Finders of others may fail."""
    found = package_files.find()
    with monkeypatch.context() as patch:
        finder = SimpleNamespace(find_spec=lambda *_: 1 / 0)
        patch.setattr(sys, "meta_path", [finder, object(), *sys.meta_path])
        patch.setattr(sys, "path", [None, b"/bytes", "/nowhere", *sys.path])
        assert package_files.find() == found
    monkeypatch.setitem(sys.modules, "requests", types.ModuleType("requests"))
    monkeypatch.setitem(sys.modules, "certifi", None)
    assert package_files.find() == found
    (tmp_path / "requests").mkdir()
    file = tmp_path / "requests/__init__.py"
    file.touch()
    sys.modules["requests"].__spec__ = importlib.util.spec_from_file_location("requests", file)
    assert package_files.find() == {**found, "requests": str(file)}


def test_a_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(package_files, "_NEEDED", ("no_such_package",))
    with pytest.raises(StartError, match="no_such_package lies in an archive, or was removed"):
        package_files.find()


def test_the_entries_of_a_python_path_that_a_service_needs(tmp_path, monkeypatch):
    """Those with one of the packages, made absolute; not a hook's, and none twice."""
    emitter, daemon = (str(Path(one.__file__).parents[1]) for one in (flwr_telemetry, flwr_telemetryd))
    site = str(Path(flwr_telemetry.__file__).with_name("flower") / "site")
    monkeypatch.chdir(Path(emitter).parent)
    entries = [site, "", str(tmp_path), Path(emitter).name, "/nowhere", daemon, daemon]
    found = package_files.python_path({"PYTHONPATH": os.pathsep.join(entries)})
    assert found == list(dict.fromkeys([emitter, daemon]))
    assert package_files.python_path({}) == []


def test_a_sidecar_ends_as_python_does_but_for_its_memory():
    """What was registered is called, and what was printed arrives, also where a pipe holds it back."""
    code = (
        "import atexit; from flwr_telemetry.bootstrap import end\natexit.register(print, 2); print(1); end(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "1\n2\n", "")
