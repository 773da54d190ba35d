"""Three machines: a file server with the collector, and two that mount its home. All end with the run.

The cables are pairs of sockets, so that nothing touches this machine's network. The run's directory is in
memory, so that a busy disk does not look like a slow server.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.nfs import images
from tests.nfs.guests import MEMORY_MIB, USER_ID, Guest, Host

TOOLS = Path(__file__).with_name("guest")
PORT, COLLECTOR_PORT, MOUNTD_PORT = 9999, 8080, 20048
SERVED = "/srv/home/u"
"""The user's directory, as the server sees it."""
HOME = "/home/u"
COLLECTED = "/tmp/collected"
TOLD = "/tmp/told-by-others"
"""Where notes that come as datagrams are kept."""
_SOFT = "timeo=20,retrans=2"
_MODES = "file_mode=0600,dir_mode=0700"
MOUNTS = {
    "v4": "vers=4.2",
    "v4noac": "vers=4.2,noac",
    "v4soft": f"vers=4.2,soft,{_SOFT}",
    "v4softerr": f"vers=4.2,softerr,{_SOFT}",
    "v3": "vers=3",
    "v3nolock": "vers=3,nolock",
    "v3soft": f"vers=3,nolock,soft,{_SOFT}",
    "cifs": f"vers=3.1.1,username=u,password=u,uid={USER_ID},gid={USER_ID},{_MODES}",
    "local": "",  # both hosts are names of the server, on its disk: the same scenes without a network
}
_NFSD = f"""\
modprobe nfsd
mkdir -p /srv/home && mount "$(findfs LABEL=data)" /srv/home
mkdir -p {SERVED} /var/lib/nfs/nfsdcld /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs
chown {USER_ID}:{USER_ID} {SERVED}; chmod 700 {SERVED}
echo '/srv/home *(rw,sync,no_subtree_check,root_squash,fsid=1)' > /etc/exports
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
mountpoint -q /var/lib/nfs/rpc_pipefs || mount -t rpc_pipefs sunrpc /var/lib/nfs/rpc_pipefs
rpcbind -w; nfsdcld; sleep 0.2
echo 15 > /proc/fs/nfsd/nfsv4gracetime; echo 15 > /proc/fs/nfsd/nfsv4leasetime
exportfs -ra; rpc.statd; rpc.mountd -p {MOUNTD_PORT}; rpc.nfsd 8
echo Y > /proc/fs/nfsd/v4_end_grace; echo Y > /proc/fs/lockd/nlm_end_grace
"""
_SMBD = f"""\
echo 'u:x:{USER_ID}:{USER_ID}::{SERVED}:/bin/sh' >> /etc/passwd; echo 'u:x:{USER_ID}:' >> /etc/group
mkdir -p /run/samba /var/log/samba /var/lib/samba/private
printf '[home]\\npath = /srv/home\\nwritable = yes\\n' > /etc/samba/smb.conf
printf 'u\\nu\\n' | smbpasswd -s -a u
smbd -D
"""


class Rig:
    """The machines. As a context, it starts them and ends them.

    Args:
        product: the disk with the product.
        mount: a key of ``MOUNTS``.
        ids: the machine IDs of the clients: ``different``, ``same`` (cloned images) or ``none``.
    """

    def __init__(self, product, mount, ids="different"):
        self.mount = mount
        self._product, self._ids = product, ids

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))  # so that __exit__ runs
        self._base = images.base(samba=self.mount == "cifs")
        self._run = _new_run()
        self._guests = []
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for guest in self._guests:
            guest.cut_power()
        shutil.rmtree(self._run, ignore_errors=True)

    def _start(self):
        tools, data = self._run / "tools.ext4", self._run / "data.ext4"
        images.make_disk(TOOLS, tools, "tools")
        _make_data(data)
        (near_a, far_a), (near_b, far_b) = _cable(), _cable()
        disks = [tools, self._product]

        def guest(name, cables, machine_id, *more):
            return Guest(name, cables, machine_id, self._base, [*disks, *more], self._run)

        id_a, id_b = {"different": ("a" * 32, "b" * 32), "same": ("c" * 32,) * 2, "none": ("", "")}[self._ids]
        cables = [(near_a, "192.0.2.1/30"), (near_b, "192.0.2.5/30")]
        self._guests = [guest("filer", cables, "f" * 32, data)]
        if self.mount != "local":
            self._guests += [guest("login1", [(far_a, "192.0.2.2/30")], id_a)]
            self._guests += [guest("node1", [(far_b, "192.0.2.6/30")], id_b)]
        for one in self._guests:
            one.boot()
        for one in self._guests:
            one.await_agent()
        self.server = Host(self._guests[0])
        self._serve()
        if self.mount == "local":
            self._share_locally()
        else:
            self.a, self.b = (Host(one) for one in self._guests[1:])
            for host in (self.a, self.b):
                self.attach(host)

    def _serve(self):
        self.server.root(_NFSD)
        if self.mount == "cifs":
            self.server.root(_SMBD)
        self.server.spawn(f"python3 /tools/collector.py {COLLECTOR_PORT} {COLLECTED}", is_user=False)
        self.server.spawn(f"socat -u UDP-RECV:{COLLECTOR_PORT} OPEN:{TOLD},creat,append", is_user=False)

    def _share_locally(self):
        self.server.root("mount --bind /srv/home /home")
        self.a, self.b = (Host(self.server.guest, name) for name in ("login1", "node1"))
        self._relay(self.server, "127.0.0.1")

    @staticmethod
    def _relay(host, address):
        """Carry connections to the collector, because the product sends plain HTTP to loopback alone."""
        listening = f"TCP-LISTEN:{PORT},bind=127.0.0.1,fork,reuseaddr,backlog=64"
        host.spawn(f"socat {listening} TCP:{address}:{COLLECTOR_PORT}", is_user=False)

    def address(self, host):
        """Give the server's address on a client's cable."""
        return "192.0.2.1" if host.title == "login1" else "192.0.2.5"

    def attach(self, host):
        """Mount the home on a client, and start its way to the collector."""
        options = MOUNTS[self.mount]
        if self.mount == "v3":
            host.root("rpcbind -w; rpc.statd")
        if "vers=3," in f"{options},":
            options += f",mountport={MOUNTD_PORT},mountproto=tcp"
        address = self.address(host)
        if self.mount == "cifs":
            line = f"mount -i -t cifs -o {options},ip={address} //{address}/home /home"
        else:
            line = f"mount -t nfs -o proto=tcp,{options} {address}:/srv/home /home"
        host.root(f"for n in {{1..40}}; do {line} && exit; sleep 0.5; done; exit 1", timeout_s=90)
        self._relay(host, address)

    def restart(self, host):
        """Start a machine that has lost its power, and mount the home again."""
        host.guest.boot()
        host.guest.await_agent()
        self.attach(host)

    def options(self):
        """Give the options of the mount, as the client's kernel tells them."""
        return self.a.root("grep ' /home ' /proc/mounts || echo the disk of one machine").strip()


def _cable():
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return ends


def _make_data(path):
    with open(path, "wb") as file:
        file.truncate(1 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "data", path], check=True, stdout=subprocess.DEVNULL)


def _new_run():
    """A directory for a run, in memory if there is room; those of runs that were killed are removed."""
    memory = Path("/dev/shm")
    free_mib = shutil.disk_usage(memory).free >> 20 if memory.is_dir() else 0
    parent = memory if free_mib > 4 * MEMORY_MIB else Path(tempfile.gettempdir())
    for old in parent.glob("nfs-rig-*-*"):
        if not os.path.exists(f"/proc/{old.name.split('-')[2]}"):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"nfs-rig-{os.getpid()}-", dir=parent))
