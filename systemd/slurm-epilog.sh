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
#   - never fails, because a failed epilog drains the node.

COMMAND=/usr/local/bin/flwr-telemetryd # in an environment that all users can read
LIMIT_S=15

PATH=/usr/bin:/bin:/usr/sbin:/sbin
[ -n "$SLURM_JOB_USER" ] && [ "$SLURM_JOB_USER" != root ] && [ -x "$COMMAND" ] || exit 0
home=$(getent passwd "$SLURM_JOB_USER" | cut -d: -f6)
group=$(id -g "$SLURM_JOB_USER" 2>/dev/null)
[ -n "$home" ] && [ -n "$group" ] || exit 0

# No login shell, no PAM session, and no variable of slurmd.
timeout --kill-after=2 "$LIMIT_S" \
    setpriv --reuid="$SLURM_JOB_USER" --regid="$group" --init-groups --no-new-privs \
    env -i HOME="$home" PATH="$PATH" LANG=C.UTF-8 \
    sh -c 'cd "$HOME/.flwr/telemetry" && exec "$0" --once' "$COMMAND" \
    </dev/null >/dev/null 2>&1

exit 0
