"""The tests of this directory against Flowers that people use: ``python -m tests.e2e.releases [RELEASE…]``.

Each release has a virtual environment of its own, with this project beside it; ``--keep DIRECTORY`` keeps
them for the next time. What pytest is to be told besides stands in ``PYTEST_ADDOPTS``. Ends with 1 if a test
fails in any of them.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What stands beside each release: the flwr-datasets that agrees with its rich.
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
    """Make the virtual environment of a release, or bring it up to date, and give its interpreter."""
    python = directory / release / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", directory / release], check=True)
    flower = [f"flwr[simulation]=={release}", *RELEASES[release]]
    subprocess.run([python, "-m", "pip", "install", "-q", "-e", f"{ROOT}[tools]", *flower], check=True)
    return python


def main():
    """Run the tests in each environment, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.releases")
    parser.add_argument("release", nargs="*", default=[*RELEASES], help=f"of {', '.join(RELEASES)}")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="where the environments stay")
    options = parser.parse_args()
    if unknown := set(options.release) - set(RELEASES):
        parser.error(f"no such release: {', '.join(sorted(unknown))}")
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        for release in options.release:
            print(f"== Flower {release}", flush=True)
            python = environment((options.keep or Path(scratch)).resolve(), release)
            workers = ["-n0"] if release in ONE_BY_ONE else []
            command = [python, "-m", "pytest", "tests/e2e", *workers]
            if subprocess.run(command, cwd=ROOT, check=False).returncode:
                failed.append(release)
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
