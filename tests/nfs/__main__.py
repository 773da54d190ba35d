"""A real shared home for tests: three kernels, two of which mount the home of the third.

    python -m tests.nfs list                        the scenes
    python -m tests.nfs run adopt --mount v4 --hot  one scene: exit code 0 if it held, 1 if it did not
    python -m tests.nfs ci                          what CI runs, two scenes at a time

It takes root, mmdebstrap, e2fsprogs and Debian's packages. Where it cannot run, it says why; the exit code
is 77. The first run makes the disks of the machines in a minute or two; they stay in the user's cache.
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.nfs import images, rig, scenes, troubles
from tests.nfs.images import say

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 77
SCENES = {
    scene.__name__: scene
    for scene in (
        scenes.adopt,
        scenes.storm,
        scenes.samename,
        scenes.first,
        scenes.optout,
        scenes.powercut,
        scenes.busy,
        troubles.outage,
        troubles.grace,
        troubles.lockless,
    )
}
CI = (
    "storm --mount v4 --seconds 45 --writers 3",
    "storm --mount v3nolock --seconds 45 --writers 3",
    "adopt --mount v4 --hot --writers 4 --events 150",
    "adopt --mount v4 --hot --writers 4 --events 100 --windows 0.1",
    "adopt --mount v4 --hot --writers 4 --events 100 --windows 0.1 --locks refused",
    "outage --mount v4 --down 15 --after 5",
    "adopt --mount v4 --events 500",
    "samename --mount v4 --writers 3 --events 100 --ids same",
    "lockless --mount v3 --events 50 --down 30",
)
"""Each is a command line; the longest ones come first."""


def parser():
    parser = argparse.ArgumentParser(
        prog="python -m tests.nfs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the scenes")
    one, many = commands.add_parser("run", help="one scene"), commands.add_parser("ci", help="what CI runs")
    for command in (one, many):
        command.add_argument("--checkout", type=Path, default=ROOT, help="the product; default: this one")
    many.add_argument("--at-once", type=int, default=2, help="how many scenes at the same time")
    one.add_argument("scene", choices=SCENES)
    one.add_argument("--mount", default="v4", choices=rig.MOUNTS)
    one.add_argument("--ids", default="different", choices=["different", "same", "none"], help="machine IDs")
    one.add_argument("--windows", type=float, default=0, help="hold the races open for up to SECONDS")
    one.add_argument("--locks", default="", choices=["", "refused"])
    one.add_argument("--hot", action="store_true", help="adopt slow writers between two of their events")
    one.add_argument("--commands", action="store_true", help="in an outage, try the commands, too")
    for name, default in {"writers": 5, "events": 2000, "seconds": 60, "rounds": 3, "seed": 1}.items():
        one.add_argument(f"--{name}", type=int, default=default)
    one.add_argument("--down", type=float, default=30, help="the seconds of an outage")
    one.add_argument("--after", type=float, default=10, help="the seconds after it")
    return parser


def _run(options):
    began = time.monotonic()
    base = images.base(samba=options.mount == "cifs")
    product = images.product(options.checkout.resolve(), base)
    with rig.Rig(product, options.mount, options.ids) as machines:
        say(f"{options.scene} on {machines.options()}, up after {time.monotonic() - began:.0f} s")
        verdict = SCENES[options.scene](machines, options)
    for line in verdict.lines:
        say(f"  {line}")
    word = "HELD" if verdict.holds else "DID NOT HOLD"
    say(f"{word}: {options.scene} on {options.mount} in {time.monotonic() - began:.0f} s")
    return 0 if verdict.holds else 1


def _run_all(options):
    began = time.monotonic()
    images.product(options.checkout.resolve(), images.base())
    command = [sys.executable, "-m", "tests.nfs", "run"]

    def one(words):
        place = ["--checkout", str(options.checkout.resolve())]
        done = subprocess.run(
            [*command, *words.split(), *place], cwd=ROOT, capture_output=True, text=True, check=False
        )
        say(f"== {words}\n{done.stdout}{done.stderr[-3000:]}")
        return done.returncode

    with ThreadPoolExecutor(options.at_once) as pool:
        codes = list(pool.map(one, CI))
    say(f"{codes.count(0)} held, {len(codes) - codes.count(0)} did not, in {time.monotonic() - began:.0f} s")
    return int(any(codes))


def main():
    options = parser().parse_args()
    if options.command == "list":
        for name, scene in SCENES.items():
            say(f"{name:9} {scene.__doc__.splitlines()[0]}")
        return 0
    try:
        images.check()
        return _run(options) if options.command == "run" else _run_all(options)
    except images.UnavailableError as error:
        say(f"tests.nfs: skipped: {error}")
        return SKIPPED


if __name__ == "__main__":
    sys.exit(main())
