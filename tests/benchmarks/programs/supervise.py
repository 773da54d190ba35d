"""Run a command and count its costs, with all its descendants: ``python supervise.py COMMAND…``.

A descendant that loses its parent, as a sidecar does, becomes a child of this process
(PR_SET_CHILD_SUBREAPER). So this process waits for it, and the system tells its processor time to its end. It
prints the seconds of each.
"""

import ctypes
import json
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36

if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
    raise OSError(ctypes.get_errno(), "no subreaper")
first = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
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
