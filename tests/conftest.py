"""What every test gets: a clean environment, a home of its own, and no process left behind."""

import os

import pytest

from tests.support import processes
from tests.support.collector import Collector
from tests.support.zygote import Zygote

processes.restore_signals()

_SCRUBBED = """
DO_NOT_TRACK SLURM_JOB_ID PBS_JOBID LSB_JOBID FLUX_JOB_ID JOB_ID SGE_ROOT REQUESTS_CA_BUNDLE
CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR SSLKEYLOGFILE NETRC PYTHONPATH PYTHONHOME PYTHONSTARTUP
PYTHONWARNINGS PYTHONDEVMODE PYTHONDONTWRITEBYTECODE PYTHONSAFEPATH PYTHONUNBUFFERED XDG_CONFIG_HOME
XDG_RUNTIME_DIR XDG_STATE_HOME NOTIFY_SOCKET WATCHDOG_USEC JOURNAL_STREAM COLUMNS FORCE_COLOR
NO_COLOR
""".split()


def _is_scrubbed(name):
    return name.startswith("FLWR_") or name in _SCRUBBED or name.lower().endswith("_proxy")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Two workers for each processor, because a test waits for other processes half of its time."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(config, items):
    """Let every second worker begin with its share of the long tests, so that none runs alone at the end.

    The others do the short ones meanwhile, because long tests use all processors, and disturb each other.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    starters = (workers + 1) // 2
    is_long = [any(map(item.get_closest_marker, ("e2e", "long"))) for item in items]
    long = [item for item, is_one in zip(items, is_long, strict=True) if is_one]
    short = [item for item, is_one in zip(items, is_long, strict=True) if not is_one]
    share = len(items) // workers
    items.clear()
    for starter in range(starters):
        mine = long[starter::starters]
        rest = max(share - len(mine), 0)
        items += mine + short[:rest]
        del short[:rest]
    items += short


@pytest.fixture(autouse=True)
def _own_world(tmp_path, monkeypatch):
    """Scrub the environment, point both homes below tmp_path, and leave no sidecar alive."""
    for name in list(os.environ):
        if _is_scrubbed(name):
            monkeypatch.delenv(name)
    user_home = tmp_path / "home"
    user_home.mkdir(mode=0o700)
    flwr_home = user_home / ".flwr"
    for name in ("HOME", "USERPROFILE"):  # the second on Windows
        monkeypatch.setenv(name, str(user_home))
    monkeypatch.setenv("FLWR_HOME", str(flwr_home))
    umask = os.umask(0o022)
    yield
    os.umask(umask)
    processes.end_all(flwr_home)


def pytest_terminal_summary(terminalreporter):
    """Print the tables that tests have recorded, in whichever process they ran."""
    for report in terminalreporter.stats.get("passed", []):
        for name, table in report.user_properties:
            if name == "table":
                terminalreporter.section(report.nodeid)
                terminalreporter.write_line(table)


@pytest.fixture
def home(tmp_path):
    """Give the directory that FLWR_HOME names (the `.flwr` itself), which need not exist yet."""
    return tmp_path / "home" / ".flwr"


@pytest.fixture
def collector():
    """Give a collector on loopback that accepts everything until told otherwise."""
    with Collector() as running:
        yield running


@pytest.fixture(scope="session")
def zygote():
    """Give an interpreter that has everything loaded, and forks."""
    if not hasattr(os, "fork"):
        yield None  # each process is started then
        return
    with Zygote() as ready:
        yield ready


@pytest.fixture
def forked(zygote, monkeypatch):
    """Let `once`, `command` and `emit` of `processes` fork: the start of Python is not what is tested."""
    monkeypatch.setattr(processes, "ready", zygote)
