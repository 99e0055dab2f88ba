"""Divides the cores of this machine into shares: one run per share, each pinned to its own cores with as many threads.

In: the machine, and what a person asks for. Out: the next run's slot, which names its cores; a pinned process.
"""

import contextlib
import os
import re
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tabtune_core.machine import core_quota
from tabtune_core.settings.validation import require

CPU = "cpu"
"""Any share of the cores; ``cpu:0-3`` is a slot of four cores."""
TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class Shares:
    """How the cores are divided among runs on the CPU."""

    cores: tuple[int, ...]
    """The system's core numbers; those of one physical core are neighbours."""
    parallel: int
    """Runs at once."""
    threads: int
    """Threads of each run."""
    pinned: bool = True
    """Whether a run is pinned to its cores; false if the system cannot, or limits the time of all cores."""

    def next(self, going: Collection[str]) -> str | None:
        """Returns the slot of one more run beside those on the slots ``going``; None if no slot is free."""
        held = {core for slot in going for core in cores_of(slot, self.cores)}
        free = [core for core in self.cores if core not in held]
        if len(going) >= self.parallel or len(free) < self.threads:
            return None
        return name_of(free[: self.threads])


def divide(parallel: int | None = None, threads: int | None = None) -> Shares:
    """Divides this machine's cores as asked; a value that is None follows from the number of cores.

    Raises:
        SettingError: the runs would have more threads than there are cores: they would slow each other down.
    """
    cores, quota = _cores(), core_quota()
    usable = len(cores) if quota is None else max(1, min(len(cores), int(quota)))
    if threads is None:
        limit = re.match(r"\d+", os.environ.get("OMP_NUM_THREADS", ""))  # a shell or a cluster may have set it
        usual = min(usual_threads(usable), int(limit[0] if limit else 0) or usable)
        threads = max(1, usable // parallel) if parallel else usual
    parallel = parallel or max(1, usable // threads)
    takes = f"--parallel {parallel} with --threads {threads} takes {parallel * threads} cores, and runs here can have"
    require(parallel * threads <= usable, f"{takes} {usable}. Lower one of them.")
    pinned = hasattr(os, "sched_setaffinity") and usable == len(cores)
    return Shares(cores[:usable], parallel, threads, pinned)


def usual_threads(cores: int) -> int:
    """Returns the default number of threads of a run: half of the cores, at least one and at most four.

    >>> [usual_threads(cores) for cores in (1, 2, 4, 8, 64)]
    [1, 1, 2, 4, 4]
    """
    return max(1, min(4, cores // 2))


def name_of(cores: Iterable[int]) -> str:
    """Returns the slot of some cores, written as for ``taskset --cpu-list``.

    >>> name_of([3, 0, 1, 2, 7])
    'cpu:0-3,7'
    """
    parts: list[list[int]] = []
    for core in sorted(cores):
        if parts and parts[-1][-1] == core - 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return f"{CPU}:" + ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)


def cores_of(slot: str, every: Collection[int]) -> set[int]:
    """Returns the cores of a slot; ``every`` core if the slot names none.

    >>> cores_of("cpu:0-3,7", ()), cores_of("cpu", (0, 1))
    ({0, 1, 2, 3, 7}, {0, 1})
    """
    ends = re.findall(r"(\d+)(?:-(\d+))?", slot.partition(":")[2])
    return {core for first, last in ends for core in range(int(first), int(last or first) + 1)} or set(every)


def stay_on(cores: Collection[int], threads: int) -> None:
    """Pins this process and its children to ``cores`` (empty: unchanged) and limits the threads of all libraries.

    Call it while there is one thread.
    """
    with contextlib.suppress(OSError):  # the cores were taken from this container since its worker counted them
        if cores:
            os.sched_setaffinity(0, cores)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    import threadpoolctl

    threadpoolctl.threadpool_limits(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def _cores() -> tuple[int, ...]:
    """Returns the cores that this process may use, those of one physical core side by side."""
    if not hasattr(os, "sched_getaffinity"):
        return tuple(range(psutil.cpu_count() or 1))
    return tuple(sorted(os.sched_getaffinity(0), key=lambda core: (_first_sibling(core), core)))


def _first_sibling(core: int) -> int:
    """Returns the lowest core number among the threads of the same physical core."""
    try:
        siblings = (TOPOLOGY / f"cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return core
    return min(cores_of(f"{CPU}:{siblings}", (core,)))
