"""On what machine the figures were taken."""

import datetime as dt
import platform
from importlib import metadata
from pathlib import Path

import psutil


def facts(directory):
    """What a reader of the figures needs to know; the file system is that of the directory."""
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "file_system": _file_system(directory.resolve()),
        "flwr_telemetry": metadata.version("flwr-telemetry"),
        "flwr": metadata.version("flwr"),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def in_words(machine):
    """All of it in one line."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['kernel']}, "
        f"{machine['python']}, {machine['file_system']}, {machine['date']}"
    )


def _cpu_model():
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _file_system(directory):
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounts[path] for path in (directory, *directory.parents) if path in mounts), "unknown")
