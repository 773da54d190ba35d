"""What the rig changes in a process with this directory on its module path; the product is not changed.

``RIG_WINDOWS=SECONDS``: now and then, a system call on a file rests up to so long before or after. It holds
open the windows of the races, which are some microseconds otherwise. ``RIG_LOCKS=refused``: each lock fails.
"""

import errno
import fcntl
import os
import random
import time

_CALLS = "rename unlink fchmod pread write".split()
_SHARE = 0.25
"""Of how many calls a rest comes before, and after."""


def _with_rests(call, longest_s, chance, sleep=time.sleep):
    def wrapped(*arguments, **options):
        if chance.random() < _SHARE:
            sleep(longest_s * chance.random())
        try:
            return call(*arguments, **options)
        finally:
            if chance.random() < _SHARE:
                sleep(longest_s * chance.random())

    return wrapped


def _refuse(_descriptor, _operation):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def _switch(windows_s, locks):
    if locks == "refused":
        fcntl.flock = _refuse
    if windows_s:
        chance = random.Random()
        for module, names in ((os, _CALLS), (fcntl, ["flock"])):
            for name in names:
                setattr(module, name, _with_rests(getattr(module, name), windows_s, chance))


_switch(float(os.environ.get("RIG_WINDOWS") or 0), os.environ.get("RIG_LOCKS"))
