"""A private Slurm cluster of one node: real ``munged``, ``slurmctld`` and ``slurmd`` on a private machine.

Everything of theirs lies in the machine's `/run`; jobs are run by the machine's user, who has no rights.

    with Cluster(tmp_path) as cluster:
        job = cluster.submit("python3 train.py", array="1-20")
        cluster.wait_for(job)
"""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from tests.support import hosts, machine, processes
from tests.support.machine import USER_ID, Machine
from tests.support.machine_making import removed

NODE, LOGIN = "node1", "login1"

_PLACE = "/run/slurm"
_CONF = f"{_PLACE}/slurm.conf"
_GROUPS = f"{_PLACE}/cgroup"
_FREEZER = Path("/sys/fs/cgroup/freezer")
_PROGRAMS = "munged slurmctld slurmd sbatch scancel squeue scontrol".split()


def why_not():
    """Say what keeps such a cluster from being made here, if anything does."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    return machine.why_not() or (f"a cluster needs {', '.join(missing)}" if missing else None)


def has_control_groups():
    """Tell whether jobs can be tracked by control groups here, as clusters do it; else it is by parents."""
    return os.access(_FREEZER / "cgroup.procs", os.W_OK)


def _conf(epilog):
    return f"""
ClusterName=test
SlurmctldHost={NODE}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation={_PLACE}/state
SlurmdSpoolDir={_PLACE}/node
SlurmctldPidFile={_PLACE}/slurmctld.pid
SlurmdPidFile={_PLACE}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/{"cgroup" if has_control_groups() else "linuxproc"}
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,default_queue_depth=1000
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
KillWait=2
ReturnToService=2
MinJobAge=2
NodeName={NODE} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes={NODE} Default=YES MaxTime=INFINITE
{"" if epilog is None else f"Epilog={epilog}"}
"""


# Words for a shell: be in a control group, and see nothing above it.
_IN_A_GROUP = f"""
mkdir -p {_GROUPS}/freezer && mount -t cgroup -o freezer freezer {_GROUPS}/freezer
mkdir {_GROUPS}/freezer/$0
echo $$ > {_GROUPS}/freezer/$0/cgroup.procs
umount {_GROUPS}/freezer
exec unshare --cgroup --mount sh -ec 'mount -t cgroup -o freezer freezer {_GROUPS}/freezer; exec "$@"' sh "$@"
"""


class Cluster(Machine):
    """Lives while its `with` block lasts; the arguments are those of a machine."""

    def __init__(self, directory, **options):
        files = {
            "/etc/hosts": f"127.0.0.1 localhost {NODE} {LOGIN}\n",
            _CONF: _conf(None),
            f"{_PLACE}/cgroup.conf": f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={_GROUPS}\n",
            **options.pop("files", {}),
        }
        super().__init__(directory, hostname=NODE, files=files, **options)
        self._freezer = _FREEZER / f"flwr-telemetry-test-{secrets.token_hex(4)}"

    def __enter__(self):
        super().__enter__()
        try:
            self._start_daemons()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        super().__exit__()
        processes.wait_until(lambda: removed(self._freezer), what=f"the end of {self._freezer}")

    def _start_daemons(self):
        # Where all addresses are of loopback, glibc knows none to listen on, and Slurm asks it.
        self.as_root("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
        for path in ("/run/munge", f"{_PLACE}/state", f"{_PLACE}/node"):
            self.as_root("mkdir", "-p", path)
        self.as_root("sh", "-c", "umask 077 && head -c 1024 /dev/urandom > /run/munge.key")
        own = [f"--{kind}-file=/run/munge.{kind}" for kind in ("key", "log", "pid", "seed")]
        self.start("munged", ["munged", "--foreground", *own])
        processes.wait_until(lambda: self.exists("/run/munge/munge.socket.2"), what="munge")
        self.start("slurmctld", ["slurmctld", "-D", "-f", _CONF])
        apart = ["sh", "-ec", _IN_A_GROUP, self._freezer.name] if has_control_groups() else []
        self.start("slurmd", [*apart, "slurmd", "-D", "-f", _CONF])
        processes.wait_until(lambda: "State=IDLE" in self.scontrol("show", "node", NODE), what="the node")

    def as_root(self, *words):
        return self.run(words, user="root", check=True).stdout

    def scontrol(self, *words):
        return self.run(["scontrol", *words], user="root", env={"SLURM_CONF": _CONF}).stdout

    def set_epilog(self, epilog):
        """Have a script run after every job, as root."""
        self.inside(_CONF).write_text(_conf(epilog), encoding="utf-8")
        self.scontrol("reconfigure")
        processes.wait_until(lambda: str(epilog) in self.scontrol("show", "config"), what="the epilog")

    def slurm(self, *words):
        return self.run(words, env={"SLURM_CONF": _CONF}, check=True)

    def submit(self, script, *, array="", env=None):
        variables = "".join(f"export {name}={value}\n" for name, value in (env or {}).items())
        wrapped = f"#!/bin/sh\n{variables}{script}\n"
        options = [f"--array={array}"] if array else []
        words = ["sbatch", "--parsable", "--output=job-%A_%a.out", *options]
        done = self.run(words, env={"SLURM_CONF": _CONF}, input=wrapped, stdin=None, check=True)
        return done.stdout.strip()

    def wait_for(self, job):
        numbers = ["squeue", "--noheader", "--format=%F"]
        processes.wait_until(lambda: job not in self.slurm(*numbers).stdout.split(), what=f"job {job}")

    def on_login_node(self, *words):
        """Give words with which root runs a program as the user on another host of the same home."""
        variables = [f"{name}={value}" for name, value in self.environment().items()]
        user = ["setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups"]
        return hosts.on(LOGIN, [*user, "env", "-i", f"--chdir={self.user_home}", *variables, *words])

    def users_processes(self):
        told = self.run(["ps", "-u", self.user, "-o", "args="], user="root").stdout
        return [line.strip() for line in told.splitlines()]

    def processes_left(self):
        """Give the user's processes after a job; one that was killed a moment ago has the time to go."""
        with contextlib.suppress(AssertionError):
            processes.wait_until(lambda: not self.users_processes(), timeout_s=20)
        return self.users_processes()
