#!/bin/sh
# For slurm.conf: Epilog=/etc/slurm/flwr-telemetry-epilog.sh
#
# Jobs only append to their spool. This script delivers the spool after a job. Use it if no service delivers
# (`flwr-telemetry service` on a login node) and the nodes can reach the collector. Slurm runs it on the node, as
# root. The script
#
#   - does nothing for users without ~/.flwr/telemetry, and does nothing in a home as root;
#   - enters the home as the user of the job, because NFS with root_squash does not let root in;
#   - ends within the time limit, because until then the node is not free for the next job. Do not use it if
#     nodes cannot reach the collector: every job would wait for the whole limit;
#   - executes nothing of the user's: Python would run ~/.local (usercustomize.py, .pth files) at its start, and so
#     let the user have a process outside of the limits of a job;
#   - never fails, because a failed epilog drains the node.

COMMAND=/usr/local/bin/flwr-telemetryd # in an environment that all users can read, and only root can write to
LIMIT_S=15

PATH=/usr/bin:/bin:/usr/sbin:/sbin
unset LD_PRELOAD LD_AUDIT LD_LIBRARY_PATH
[ -n "$SLURM_JOB_USER" ] && [ -x "$COMMAND" ] || exit 0
home=$(getent passwd "$SLURM_JOB_USER" | cut -d: -f6)
user=$(id -u "$SLURM_JOB_USER" 2>/dev/null)
group=$(id -g "$SLURM_JOB_USER" 2>/dev/null)
[ -n "$home" ] && [ -n "$group" ] && [ "$user" != 0 ] || exit 0

# A command of Python's names its interpreter in its first line. `-I` keeps that from the user's files, whatever
# switches stand there. The variables do so for a command that is started in another way.
python=$(sed -n '1s/^#! *\([^ ]*python[^ ]*\).*/\1/p;q' "$COMMAND" 2>/dev/null)

# No login shell, no PAM session, and no variable of slurmd.
env -i HOME="$home" PATH="$PATH" LANG=C.UTF-8 PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1 \
    timeout --kill-after=2 "$LIMIT_S" \
    setpriv --reuid="$user" --regid="$group" --init-groups --no-new-privs \
    sh -c 'cd "$HOME/.flwr/telemetry" && exec "$@" --once' sh ${python:+"$python" -I} "$COMMAND" \
    </dev/null >/dev/null 2>&1

exit 0
