"""The tests of this directory with other releases of Flower: ``python -m tests.e2e.releases [RELEASE…]``.

Each release has its own virtual environment, with this project in it. A release that is installed beside this
interpreter needs no other. ``--keep DIRECTORY`` keeps the environments for the next run.

``--embedded`` tests a Flower that imports this package, as ``embed.py`` makes it, beside an unmodified one.
``--quick`` leaves out the heavy tests. ``PYTEST_ADDOPTS`` may hold more options of pytest. The status is 1 if
a test of any release fails.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from tests.e2e import embed

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
BESIDE = ("simulation", "deployment", "ends", "embed")
"""The tests that compare an unmodified Flower with another."""


def environment(directory, release):
    """Make or update the virtual environment of a release; its interpreter."""
    if release == metadata.version("flwr"):
        return sys.executable
    python = directory / release / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", directory / release], check=True)
    flower = [f"flwr[simulation]=={release}", *RELEASES[release]]
    subprocess.run([python, "-m", "pip", "install", "-q", "-e", f"{ROOT}[tools]", *flower], check=True)
    return python


def site(python):
    """The directory of an environment's packages."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-c", code], text=True).strip())


def embedded(python, directory, **more):
    """Make a copy of an environment's Flower, and of flwr-datasets if it has that, and change it."""
    shutil.rmtree(directory, ignore_errors=True)
    for pattern in ("flwr", "flwr-*.dist-info", "flwr_datasets", "flwr_datasets-*.dist-info"):
        for path in site(python).glob(pattern):
            shutil.copytree(path, directory / path.name)  # with what was compiled
    embed.write(embed.change(directory, **more))
    return directory


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.releases")
    parser.add_argument("release", nargs="*", default=[*RELEASES], help=f"of {', '.join(RELEASES)}")
    parser.add_argument(
        "--embedded", action="store_true", help="a Flower that is changed to import this package"
    )
    parser.add_argument("--quick", action="store_true", help="without the heavy tests")
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
            tests, env = ["tests/e2e"], {**os.environ}
            if options.embedded:
                tests = [f"tests/e2e/test_{name}.py" for name in BESIDE]
                env["EMBEDDED"] = str(embedded(python, Path(scratch) / f"{release}-embedded"))
            marks = "not heavy" if options.quick else "not heavy or e2e"
            command = [python, "-m", "pytest", "-m", marks, *tests, *workers]
            # A busy machine may hold a test up, so what fails runs once more, alone.
            again = [*command, "--last-failed", "--last-failed-no-failures=none", "-n0"]
            if all(
                subprocess.run(each, cwd=ROOT, env=env, check=False).returncode for each in (command, again)
            ):
                failed.append(release)
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
