"""Run a command and count its costs, with all its descendants: ``python supervise.py COMMAND…``.

A descendant that loses its parent, as a sidecar does, becomes a child of this process
(PR_SET_CHILD_SUBREAPER). So this process waits for it, and the system tells its processor time to its end. It
prints the seconds of each, and the sum of what the command itself and its children told as ``before_s``.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile

PR_SET_CHILD_SUBREAPER = 36

if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
    raise OSError(ctypes.get_errno(), "no subreaper")
busy_s, failed = {}, False
with tempfile.TemporaryFile("w+") as output:
    first = subprocess.Popen(sys.argv[1:], stdout=output)
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        busy_s[pid] = usage.ru_utime + usage.ru_stime
        failed = failed or (pid == first.pid and status != 0)
    first.returncode = 0  # reaped above
    output.seek(0)
    told = [json.loads(line) for line in output if line.startswith("{")]
seconds = {"first_s": busy_s.pop(first.pid), "others_s": [*busy_s.values()]}
print(json.dumps({**seconds, "before_s": sum(one.get("before_s", 0) for one in told), "failed": failed}))
