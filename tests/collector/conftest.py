"""The collector on SQLite in every run, and on a real PostgreSQL in CI's heavy one."""

from importlib.util import find_spec

import pytest

from tests.support.receiving import Postgres, Serving

if not all(map(find_spec, ("sqlalchemy", "starlette", "uvicorn"))):
    collect_ignore_glob = ["test_*.py"]  # the extra is not installed


@pytest.fixture(scope="session")
def postgres():
    with Postgres(fsync="off") as running:
        yield running


@pytest.fixture(
    scope="session", params=["sqlite", pytest.param("postgres", marks=[pytest.mark.heavy, pytest.mark.long])]
)
def shared(request, tmp_path_factory):
    """Give a collector that many tests share; each has sources of its own."""
    directory = tmp_path_factory.mktemp("shared")
    if request.param == "postgres":
        database = request.getfixturevalue("postgres").new_database()
    else:
        database = str(directory / "flwr.db")
    with Serving(database, directory) as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.heavy, pytest.mark.long])])
def database(request, tmp_path):
    """Give the address of a new database."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres").new_database()
    return str(tmp_path / "flwr.db")
