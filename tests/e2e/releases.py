"""The tests of this directory with other releases of Flower: ``python -m tests.e2e.releases [RELEASE…]``.

Each release has its own virtual environment, with this project in it. ``--keep DIRECTORY`` keeps them for the
next run. ``PYTEST_ADDOPTS`` may hold more options of pytest. The status is 1 if a test of any release fails.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The flwr-datasets that agrees with the rich of each release.
RELEASES = {
    "1.8.0": (),
    "1.13.1": (),
    "1.20.0": (),
    "1.27.0": ("flwr-datasets==0.6.0",),
    "1.41.0": ("flwr-datasets==0.6.1",),
    "1.42.0": ("flwr-datasets==0.6.1",),
}
ONE_BY_ONE = {"1.8.0"}  # two of its Rays on one machine become one cluster


def environment(directory, release):
    """Make or update the virtual environment of a release; its interpreter."""
    python = directory / release / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", directory / release], check=True)
    flower = [f"flwr[simulation]=={release}", *RELEASES[release]]
    subprocess.run([python, "-m", "pip", "install", "-q", "-e", f"{ROOT}[tools]", *flower], check=True)
    return python


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.releases")
    parser.add_argument("release", nargs="*", default=[*RELEASES], help=f"of {', '.join(RELEASES)}")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep the environments here")
    options = parser.parse_args()
    if unknown := set(options.release) - set(RELEASES):
        parser.error(f"no such release: {', '.join(sorted(unknown))}")
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        for release in options.release:
            print(f"== Flower {release}", flush=True)
            python = environment((options.keep or Path(scratch)).resolve(), release)
            workers = ["-n0"] if release in ONE_BY_ONE else []
            command = [python, "-m", "pytest", "-m", "not heavy or e2e", "tests/e2e", *workers]
            if subprocess.run(command, cwd=ROOT, check=False).returncode:
                failed.append(release)
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
