"""What a run asks of a node. Loads neither torch nor Ray.

In: a run's settings and what nodes have. Out: CPUs, memory and GPUs.
"""

from dataclasses import dataclass

from tabtune_core.machine import PROCESS_BYTES
from tabtune_core.settings import REFERENCES, RunSettings

CPUS_OF_A_CPU_RUN = 4
"""Or as many as the largest node has beside those for its GPUs, where that is less."""
CPUS_OF_A_GPU_RUN = 1
BYTES_OF_A_GPU_RUN = 2 * PROCESS_BYTES
"""Of the node's own memory: the table and the weights pass through it. Ray does not count the GPU's own memory."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Of a run; or what a node has, or has left."""

    cpus: float
    memory_bytes: float
    gpus: float

    def fits(self, room: "Demand") -> bool:
        """Whether a node with so much room holds it; thousandths are rounding."""
        return self.cpus <= room.cpus + 1e-3 and self.memory_bytes <= room.memory_bytes and self.gpus <= room.gpus + 1e-3

    def without(self, taken: "Demand") -> "Demand":
        """What is left."""
        return Demand(self.cpus - taken.cpus, self.memory_bytes - taken.memory_bytes, self.gpus - taken.gpus)

    def __str__(self) -> str:
        """In words."""
        gpus = f" and {self.gpus:g} GPU{'s' * (self.gpus != 1)}" if self.gpus else " and no GPU"
        return f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}, {self.memory_bytes / 1e9:,.1f} GB of memory{gpus}"


def wants_gpu(settings: RunSettings, *, there_are_some: bool) -> bool:
    """Whether a run is put on a GPU; 'auto' is one where any node has some, and a number behind 'cuda' counts for nothing on a cluster."""
    if settings.strategy in REFERENCES:
        return False
    return settings.device.startswith("cuda") or (settings.device == "auto" and there_are_some)


def asks_of(*, on_gpu: bool, gpu_share: float, largest: Demand) -> Demand:
    """CPUs and GPUs of a run; its memory is not looked at. ``largest`` is what the largest node has of each."""
    if on_gpu:
        return Demand(CPUS_OF_A_GPU_RUN, 0, gpu_share)
    beside_gpus = max(1, largest.cpus - largest.gpus * CPUS_OF_A_GPU_RUN)
    return Demand(min(CPUS_OF_A_CPU_RUN, beside_gpus, largest.cpus or 1), 0, 0)
