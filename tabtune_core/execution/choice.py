"""Which executor a worker uses: as its flags say.

In: names and numbers. Out: how to open an executor. Loads no Ray.
"""

import functools
from dataclasses import dataclass

from tabtune_core.errors import SettingError
from tabtune_core.execution.executor import LOCAL, RAY, OpenExecutor

EXECUTORS = (LOCAL, RAY)
LEAST_SHARE = 0.01
"""Of a GPU; Ray rounds a smaller share to 0."""


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """Where runs are carried out.

    Raises:
        SettingError: the executor is unknown, or the share of a GPU is out of range.
    """

    executor: str = LOCAL
    """'local', which is this machine, or 'ray': the machines of a Ray cluster."""
    address: str = "auto"
    """Of the head of the Ray cluster, HOST:6379; 'auto' is the cluster that this machine is part of."""
    gpu_share: float = 1.0
    """Of a GPU that a run on the Ray cluster is given. Less than 1 puts several on one, whose seconds cannot be compared."""

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise SettingError(f"There is no executor {self.executor!r}; choose one of {', '.join(EXECUTORS)}.")
        if not LEAST_SHARE <= self.gpu_share <= 1:
            raise SettingError(
                f"The share of a GPU is {self.gpu_share:g}; a run is given at most one GPU, and at least {LEAST_SHARE:g} of it. Write 1,"
                " or for example 0.5."
            )

    def check(self) -> None:
        """Checks, as far as a moment tells, that runs can be carried out there.

        Raises:
            ClusterError: Ray is not installed, or there is no cluster.
        """
        if self.executor == RAY:
            from tabtune_core.execution.on_ray.reach import check

            check(self.address)

    def opener(self) -> OpenExecutor:
        """What opens the executor."""
        if self.executor == LOCAL:
            from tabtune_core.execution.local import LocalExecutor

            return LocalExecutor
        from tabtune_core.execution.on_ray.executor import RayExecutor

        return functools.partial(RayExecutor, self.address, self.gpu_share)
