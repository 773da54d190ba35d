"""The epilog of Slurm executes nothing of the user's. `tests/e2e/test_slurm.py` has a real Slurm."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.hosts import private_mounts

EPILOG = Path(__file__).parents[2] / "systemd" / "slurm-epilog.sh"
SYSTEM = "/usr/bin/python3"
USER, UID = "epiloguser", 4242

# It stands for flwr-telemetryd, and tells how it was started.
_COMMAND = """
import json, os, site, sys
with open("told", "w") as file:
    json.dump([sys.argv[1:], site.ENABLE_USER_SITE, sys.path, dict(os.environ)], file)
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv") or not Path(SYSTEM).exists(),
    reason=f"needs root, setpriv and {SYSTEM}",
)


@pytest.fixture
def user(tmp_path):
    """The home of a user who would like to have code of his own executed wherever Python looks for some."""
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(directory.stat().st_mode | 0o011)
    home = tmp_path / "user"
    (home / ".flwr" / "telemetry").mkdir(parents=True)
    code = "import sys; print('%d.%d' % sys.version_info[:2], end='')"
    version = subprocess.check_output([SYSTEM, "-c", code], text=True)
    local = home / f".local/lib/python{version}/site-packages"
    local.mkdir(parents=True)
    trap = f"import os; open({str(home / 'ran')!r}, 'a').write(__name__)\n"
    for place in (local, home, home / ".flwr" / "telemetry"):
        for name in ("usercustomize.py", "sitecustomize.py", "json.py", "site.py", "trap.pth"):
            (place / name).write_text(trap)
    for path in (home, *home.rglob("*")):
        os.chown(path, UID, UID)
    return home


def run(tmp_path, user, command, **environ):
    """Run the epilog of a job of this user, with a database of users of its own."""
    epilog, passwd = tmp_path / "epilog.sh", tmp_path / "passwd"
    epilog.write_text(EPILOG.read_text().replace("/usr/local/bin/flwr-telemetryd", str(command)))
    passwd.write_text(
        f"root:x:0:0::/root:/bin/sh\n{USER}:x:{UID}:{UID}::{user}:/bin/sh\ntoor:x:0:0::{user}:/bin/sh\n"
    )
    steps = f"mount --bind {passwd} /etc/passwd && sh {epilog}"
    env = {"PATH": os.environ["PATH"], "SLURM_JOB_USER": USER, **environ}
    done = subprocess.run(
        [*private_mounts(), "sh", "-c", steps], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    told = user / ".flwr" / "telemetry" / "told"
    return json.loads(told.read_text()) if told.exists() else None


def script(tmp_path, first_line):
    command = tmp_path / "flwr-telemetryd"
    command.write_text(f"{first_line}\n{_COMMAND}")
    command.chmod(0o755)
    return command


@pytest.mark.parametrize("first_line", [f"#!{SYSTEM}", f"#! {SYSTEM} -E", "#!/usr/bin/env python3"])
def test_nothing_of_the_user_is_executed(tmp_path, user, first_line):
    """Whatever the environment of the epilog says, too."""
    hostile = {
        **dict.fromkeys(("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "HOME"), str(user)),
        **dict.fromkeys(("PYTHONSTARTUP", "BASH_ENV", "ENV", "PYTHONINSPECT"), str(user / "site.py")),
        "LD_LIBRARY_PATH": str(user),
    }
    arguments, has_user_site, path, environ = run(tmp_path, user, script(tmp_path, first_line), **hostile)
    assert arguments == ["--once"]
    assert not has_user_site
    assert not [place for place in path if place.startswith(str(user))]
    assert environ.keys() <= {*"HOME PATH LANG PWD OLDPWD LC_CTYPE PYTHONNOUSERSITE PYTHONSAFEPATH".split()}
    assert not (user / "ran").exists()


def test_a_second_name_of_root_gets_nothing(tmp_path, user):
    assert run(tmp_path, user, script(tmp_path, f"#!{SYSTEM}"), SLURM_JOB_USER="toor") is None
