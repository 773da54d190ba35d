"""The disks of the machines: Debian with a file server, and this project as pip installs it.

Both are made once and kept in the user's cache. A disk appears there by a rename, when it is whole, so that
several runs may make it at the same time.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGES = "iproute2 iptables kmod nfs-kernel-server procps python3 rpcbind socat"
SAMBA = "samba"
"""What the server needs besides for a share of the kind CIFS; it doubles the time that the disk takes."""
_KERNEL = "user-mode-linux"
_FORMAT = "1"
"""Part of the name of a disk; other contents need another one."""
_UNNEEDED = "doc man locale info lintian".split()
_OLD_S = 7 * 86400
_INIT = """\
#!/bin/bash
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t ext4 -o ro,noload "$(findfs LABEL=tools)" /tools && exec /tools/init
"""
_PYVENV = "home = /usr/bin\ninclude-system-site-packages = false\n"
_PROGRAMS = {"flwr-telemetry": "flwr_telemetryd.cli", "flwr-telemetryd": "flwr_telemetryd.__main__"}


class UnavailableError(Exception):
    """The rig cannot run here; the message says in one line why."""


def say(text):
    print(text, flush=True)  # noqa: T201 - a program for people


def check():
    """Raise UnavailableError if this machine has not what the rig needs."""
    if sys.platform != "linux" or os.geteuid():
        raise UnavailableError("it takes Linux and root, to make file systems and namespaces")
    if missing := [name for name in ("mmdebstrap", "mkfs.ext4", "unshare") if not shutil.which(name)]:
        raise UnavailableError(f"not installed: {', '.join(missing)} (apt-get install mmdebstrap e2fsprogs)")
    # Debian's kernel panics at its first process ("ptrace set fp regs failed"): its buffer is too small.
    if re.search(r"^flags\b.* amx_tile\b", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE):
        raise UnavailableError("a kernel in user mode cannot keep the AMX registers of this processor")


def base(*, samba=False):
    """The directory with the kernel ``linux`` and the disk ``root.ext4``; it is made if it is missing."""
    packages = [*PACKAGES.split(), _KERNEL, *([SAMBA] if samba else [])]
    sources = _sources()
    name = hashlib.sha256(repr((packages, sources, _FORMAT)).encode()).hexdigest()[:12]
    final = _cache() / f"base-{name}"
    if not final.exists():
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=_cache(), prefix="making-") as scratch:
            made = Path(scratch) / "base"
            made.mkdir()
            _make_base(Path(scratch) / "root", made, packages, sources)
            _appear(made, final)
        say(f"the base disk took {time.monotonic() - began:.0f} s")
    return final


def product(checkout, base_directory):
    """The disk with this project as pip installs it from a checkout; it is made if it is missing."""
    python = (base_directory / "python").read_text(encoding="ascii")
    final = _cache() / f"product-{_state_of(checkout)}-{python}.ext4"
    if not final.exists():
        began = time.monotonic()
        _forget_old_products()
        with tempfile.TemporaryDirectory(dir=_cache(), prefix="making-") as scratch:
            root, disk = Path(scratch) / "root", Path(scratch) / "disk"
            _install(checkout, root, python, Path(scratch))
            make_disk(root, disk, "product")
            _appear(disk, final)
        say(f"the disk with the product took {time.monotonic() - began:.0f} s")
    return final


def make_disk(directory, path, label, spare_mib=8):
    """Make an ext4 with the files of a directory."""
    blocks = sum(-(-one.lstat().st_size // 4096) + 1 for one in directory.rglob("*"))
    size_mib = blocks * 4096 // 2**20 * 11 // 10 + spare_mib
    options = ["-q", "-F", "-m", "0", "-O", "^has_journal", "-L", label, "-d", directory]
    _run(["mkfs.ext4", *options, path, f"{size_mib}M"])


def _cache():
    parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = parent / "flwr-telemetry-tests"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        path = Path(tempfile.gettempdir()) / f"flwr-telemetry-tests-{os.getuid()}"
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def _appear(made, final):
    try:
        made.rename(final)
    except OSError:  # another run was faster
        if not final.exists():
            raise


def _sources():
    """The lines of this machine's own sources for its release of Debian, as apt tells them."""
    told = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))
    release = told.get("VERSION_CODENAME", "")
    if told.get("ID") != "debian" or not release:
        raise UnavailableError("this is no Debian, so that apt has no sources of Debian")
    form = "deb $(REPO_URI) $(RELEASE) main"
    found = _run(["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Component: main"])
    lines = set(found.splitlines())
    suited = sorted(line for line in lines if re.fullmatch(rf"{release}(-\w+)?", line.split()[2]))
    if not suited:
        raise UnavailableError(f"apt has no source of Debian's {release}")
    return [release, *suited]


def _make_base(root, made, packages, sources):
    unneeded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _UNNEEDED]
    hooks = (
        "mkdir -p $1/tools $1/opt/product $1/home $1/srv",
        "rm -rf $1/var/cache/apt $1/var/lib/apt/lists",
    )
    options = ["--quiet", "--variant=minbase", "--mode=root", f"--include={','.join(packages)}", *unneeded]
    options += [f"--customize-hook={hook}" for hook in hooks]
    options += ['--aptopt=Acquire::Languages "none"', "--aptopt=APT::Install-Recommends false"]
    try:
        _run(["mmdebstrap", *options, sources[0], root, *sources[1:]])
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"mmdebstrap failed: {_last_line(error.stderr)}") from error
    (root / "rig-init").write_text(_INIT)
    (root / "rig-init").chmod(0o755)
    (made / "python").write_text(os.readlink(root / "usr/bin/python3").removeprefix("python"))
    (root / "usr/bin/linux.uml").rename(made / "linux")
    for modules in (root / "usr/lib/uml/modules").iterdir():
        (root / "usr/lib/modules").mkdir(exist_ok=True)
        modules.rename(root / "usr/lib/modules" / modules.name)
    make_disk(root, made / "root.ext4", "root", spare_mib=256)


def _state_of(checkout):
    """A name for the state of a checkout, changes that are not committed included."""
    of_product = ["emitter", "daemon", "systemd", "pyproject.toml"]
    listed = _run(["git", "-C", checkout, "ls-files", "-z", "-co", "--exclude-standard", *of_product])
    paths = sorted(checkout / name for name in listed.split("\0") if name)
    contents = [(str(path), path.read_bytes()) for path in paths if path.is_file()]
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:12]


def _install(checkout, root, python, scratch):
    """Install as pip does, for the Python of the machines: ``root`` becomes their /opt/product."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "wheel", "--no-deps", "--wheel-dir", scratch, checkout])
    site = root / f"lib/python{python}/site-packages"
    foreign = ["--python-version", python, "--only-binary=:all:", "--no-compile", "--target", site]
    _run([*pip, "install", "--root-user-action=ignore", *foreign, next(scratch.glob("*.whl"))])
    shutil.rmtree(site / "bin", ignore_errors=True)
    (root / "bin").mkdir()
    (root / "bin/python3").symlink_to(f"/usr/bin/python{python}")
    (root / "pyvenv.cfg").write_text(_PYVENV + f"version = {python}\n")
    for name, module in _PROGRAMS.items():
        code = f"#!/opt/product/bin/python3\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        (root / "bin" / name).write_text(code)
        (root / "bin" / name).chmod(0o755)
    # Without it each start would compile all modules. It helps where this Python is the machines', too.
    _run([sys.executable, "-m", "compileall", "-q", "-s", root, "-p", "/opt/product", site], check=False)


def _forget_old_products():
    for path in _cache().glob("product-*"):
        if time.time() - path.stat().st_mtime > _OLD_S:
            path.unlink(missing_ok=True)


def _run(words, *, check=True):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        say(done.stderr[-2000:])
        done.check_returncode()
    return done.stdout


def _last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
