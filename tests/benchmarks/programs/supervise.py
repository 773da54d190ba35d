"""Run a command, and count what it and all that comes of it take: ``python supervise.py COMMAND…``.

Whoever loses its parent, as a sidecar means to, becomes this process's child (PR_SET_CHILD_SUBREAPER), so
that it is waited for and the system says what it took, to its last. Prints seconds of processor time of each.
"""

import ctypes
import json
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no subreaper")
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    busy_s, failed = {}, False
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        busy_s[pid] = usage.ru_utime + usage.ru_stime
        failed = failed or (pid == first.pid and status != 0)
    first.returncode = 0  # reaped above
    print(json.dumps({"first_s": busy_s.pop(first.pid), "others_s": [*busy_s.values()], "failed": failed}))


if __name__ == "__main__":
    main(sys.argv[1:])
