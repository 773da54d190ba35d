#!/bin/sh
# For slurm.conf: Epilog=/etc/slurm/flwr-telemetry-epilog.sh
#
# Jobs only write to their spool; this delivers it when a job has ended, where no service does (`flwr-telemetry
# service` on a login node) and the node has a way out. Slurm runs it on the node, as root. It
#
#   - does nothing for users who have no ~/.flwr/telemetry, and nothing as root in a home;
#   - looks into the home as the job's user: root may be nobody there (NFS with root_squash);
#   - ends within the time limit: until then the node is not free for the next job (so leave it away where
#     nodes have no way out: each job's end would wait for a connection that never comes about);
#   - never fails: an epilog that does drains the node.

COMMAND=/usr/local/bin/flwr-telemetryd # of an environment that all users can read
LIMIT_S=15

PATH=/usr/bin:/bin:/usr/sbin:/sbin
[ -n "$SLURM_JOB_USER" ] && [ "$SLURM_JOB_USER" != root ] && [ -x "$COMMAND" ] || exit 0
home=$(getent passwd "$SLURM_JOB_USER" | cut -d: -f6)
group=$(id -g "$SLURM_JOB_USER" 2>/dev/null)
[ -n "$home" ] && [ -n "$group" ] || exit 0

# No login shell, no PAM session, and nothing of the environment of slurmd.
timeout --kill-after=2 "$LIMIT_S" \
    setpriv --reuid="$SLURM_JOB_USER" --regid="$group" --init-groups --no-new-privs \
    env -i HOME="$home" PATH="$PATH" LANG=C.UTF-8 \
    sh -c 'cd "$HOME/.flwr/telemetry" && exec "$0" --once' "$COMMAND" \
    </dev/null >/dev/null 2>&1

exit 0
