"""What the machine gives this process: disk space, and memory and cores within the limits of its control groups."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""The control group of this process, and where the limits are: cgroups(7), version 2."""
PROCESS_BYTES = 450e6
"""What a process holds beside tensors: Python, torch and a CUDA context (430 MB measured with TabICL mini 1)."""
TIGHT = 0.8
"""Share of the free memory up to which an estimate is trusted to fit; measured estimates were off by up to a fifth."""
NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs4?|cifs|smb[23]|smbfs|afs|ceph|lustre|gpfs|beegfs|glusterfs|fuse\.(sshfs|s3fs|.*ceph)"
)


def disk_of(path: Path) -> tuple[int, int] | None:
    """Returns free and total bytes of the disk of a path, or of the nearest folder above it; None if unreadable."""
    try:
        place = next(place for place in (path, *Path(os.path.abspath(path)).parents) if place.exists())
        usage = psutil.disk_usage(str(place))
    except OSError:
        return None
    return usage.free, usage.total


def network_file_system(folder: Path) -> tuple[str, str] | None:
    """Returns type and mount point of the network file system that a folder lies on; None on a local disk."""
    place = Path(os.path.realpath(folder))
    mounts = [part for part in psutil.disk_partitions(all=True) if place.is_relative_to(part.mountpoint)]
    if not mounts:
        return None
    nearest = max(reversed(mounts), key=lambda part: len(part.mountpoint))  # a later mount hides an earlier one
    return (nearest.fstype, nearest.mountpoint) if NETWORK_FILE_SYSTEMS.fullmatch(nearest.fstype) else None


def machine_memory() -> tuple[int, int]:
    """Returns available and total bytes of memory: the machine's, or those of a control group with less."""
    memory = psutil.virtual_memory()
    available, total = memory.available, memory.total
    for folder in _groups():
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is not None and used is not None:  # without the file cache that the kernel would free
            used = max(0, used - (_number(folder / "memory.stat", "inactive_file ") or 0))
            available, total = min(available, max(0, limit - used)), min(total, limit)
    return available, total


def core_quota() -> float | None:
    """Returns how many cores' time the control groups around this process allow; None without a limit."""
    quotas = [_text(folder / "cpu.max").split() for folder in _groups()]
    return min((int(quota[0]) / int(quota[1]) for quota in quotas if quota and quota[0].isdecimal()), default=None)


def _groups() -> Iterator[Path]:
    """Yields the folders of the groups around this process; some do not exist in a container."""
    for line in _text(CGROUP).splitlines():
        if line.startswith("0::"):
            place = CGROUPS / line[3:].strip("/")
            yield from (place, *(above for above in place.parents if above.is_relative_to(CGROUPS)))


def _number(file: Path, name: str = "") -> int | None:
    """Reads the number in a file, or in its line ``name``; None if there is no number or it is ``max``."""
    match = re.search(rf"^{name}(\d+)$", _text(file), re.MULTILINE)
    return int(match[1]) if match else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
