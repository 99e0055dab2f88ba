"""What the machine gives this process: disk space, and memory and cores within the limits of its control group (such as
a container's).

In: paths. Out: bytes, cores, and how often the system ended a process because memory ran out. Values that cannot be
read are None.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""The control groups of this process, and where their limits are: cgroups(7)."""
VMSTAT = Path("/proc/vmstat")
PROCESS_BYTES = 450e6
"""What a process holds beside tensors: Python, torch and a CUDA context. With a small TabICL loaded 430 MB were resident
on the CPU; a CUDA context is as large. On a GPU cuBLAS keeps 17 MB more, 67 MB on the Hopper generation.
"""
TIGHT = 0.8
"""Share of the free memory up to which an estimate is trusted to fit; measured estimates were off by up to a fifth."""
MOUNTS = Path("/proc/self/mountinfo")
"""Mounted file systems: proc_pid_mountinfo(5)."""
NETWORK_FILE_SYSTEMS = re.compile(
    "nfs4?|cifs|smb[23]|smbfs|ncpfs|afs|coda|ceph|lustre|gpfs|beegfs|panfs|pvfs2|orangefs|wekafs|glusterfs|gfs2|ocfs2|davfs"
    r"|fuse\.(sshfs|ceph|ceph-fuse|glusterfs|lizardfs|moosefs|juicefs|s3fs|gcsfuse|rclone|davfs2|smbnetfs)"
)
"""Type names in the list of mounts. ``9p`` is left out: some containers use it for their own disk."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a path."""

    mount: Path
    free_bytes: int
    """Free for this user."""
    total_bytes: int
    read_only: bool
    has_names: bool
    """Whether a new file can be made; false if all inodes are taken, however many bytes are free."""


def disk_of(path: Path) -> Disk | None:
    """Returns the file system of a path, or of the nearest folder above it that exists; None if it cannot be read."""
    try:
        place = Path(os.path.abspath(path))
        while not place.exists():
            place = place.parent
        told, known = os.statvfs(place), _mount_of(place)[1]
        while not known and not os.path.ismount(place):
            place = place.parent
    except OSError:
        return None
    names = not told.f_files or told.f_favail > 0
    return Disk(
        Path(known or place),
        told.f_bavail * told.f_frsize,
        told.f_blocks * told.f_frsize,
        bool(told.f_flag & os.ST_RDONLY),
        names,
    )


def network_file_system(folder: Path) -> tuple[str, str] | None:
    """Returns type and mount point of the network file system that a folder lies on; None on a local disk or if
    unknown.
    """
    found = _mount_of(folder)
    return found if NETWORK_FILE_SYSTEMS.fullmatch(found[0]) else None


def _mount_of(folder: Path) -> tuple[str, str]:
    """Returns type and mount point of the file system that a folder lies on, also if it is bound from another place;
    empty if unknown.
    """
    place, found = os.path.realpath(folder), ("", "")
    for line in _text(MOUNTS).splitlines():
        before, _, after = line.partition(" - ")
        if len(before.split()) < 5 or not after:
            continue
        # spaces and a few other characters are octal escapes
        mounted = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), before.split()[4])
        # a later mount hides an earlier one at the same place
        if (place == mounted or place.startswith(mounted.rstrip("/") + "/")) and len(mounted) >= len(found[1]):
            found = (after.split()[0], mounted)
    return found


def machine_memory() -> tuple[int, int]:
    """Returns available and total bytes of memory: the machine's, or those of a control group with less."""
    memory = psutil.virtual_memory()
    available, total = memory.available, memory.total
    for folder in _folders("memory"):
        for limit_name, used_name, spare in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is not None and used is not None:
                used = max(
                    0, used - (_number(folder / "memory.stat", spare) or 0)
                )  # without the file cache that the kernel would free
                available, total = min(available, max(0, limit - used)), min(total, limit)
    return available, total


def core_quota() -> float | None:
    """Returns how many cores' time the control groups around this process allow; None without a limit."""
    quotas = []
    for folder in _folders("cpu"):
        told = _text(folder / "cpu.max").split() or [
            _text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
        ]
        if all(number.isdecimal() for number in told):
            quotas.append(int(told[0]) / int(told[1]))
    return min(quotas, default=None)


def _folders(controller: str) -> Iterator[Path]:
    """Yields the folders of the groups around this process, of versions 1 and 2; some do not exist in a container."""
    lines = [line.split(":", 2) for line in _text(CGROUP).splitlines()]
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if not controllers or controller in controllers.split(","):
            for base in (CGROUPS, CGROUPS / "unified") if not controllers else (CGROUPS / controller,):
                place = base / path.strip("/")
                yield from (place, *(above for above in place.parents if above.is_relative_to(base)))


def oom_kills() -> int | None:
    """Counts the processes that the system ended because memory ran out, in the groups around this process and on the
    machine.
    """
    told = [
        _number(folder / name, "oom_kill")
        for folder in _folders("memory")
        for name in ("memory.events", "memory.oom_control")
    ]
    counted = [number for number in (*told, _number(VMSTAT, "oom_kill")) if number is not None]
    return sum(counted) if counted else None


def _number(file: Path, name: str = "") -> int | None:
    """Reads the number in a file, or in its line ``name``; None if there is no number or it is ``max``."""
    found = re.search(rf"^{name + ' ' if name else ''}(\d+)$", _text(file), re.MULTILINE)
    return int(found[1]) if found else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
