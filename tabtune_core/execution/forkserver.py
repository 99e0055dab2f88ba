"""The process from which runs and jobs are forked: it has torch loaded, and never CUDA, so that a child costs milliseconds.

In: the modules that carry out runs and jobs. Out: a multiprocessing context whose processes begin as forks of it.
"""

import contextlib
import multiprocessing
import os
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running

from tabtune_core.execution.child import run_child
from tabtune_core.machine import PROCESS_BYTES, machine_memory

EXPERIMENT = "tabtune_core.engine.experiment"
"""Module whose ``run_experiment`` carries out a run."""
JOBS = "tabtune_core.execution.jobs.registry"
"""Module whose ``run_job`` carries out a job."""
PLENTY = 6
"""Free memory, counted in processes with torch loaded, from which one more does no harm."""
LOADED_BY_RUNS = ("torch._dynamo", "tabtune_core.models.tabicl.model", "tabtune_core.models.tabdpt.model")
"""What runs would load on their own, each of them: the first optimizer loads torch._dynamo, which takes more than a second."""
RUN_ENVIRONMENT = {
    # threads that wait by spinning make a step ten times slower as soon as anything else wants the processor
    "OMP_WAIT_POLICY": "PASSIVE",
    # memory of large tensors in huge pages: a step on the CPU takes about 5 % less, and the same memory
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # asked through NVML whether there is a GPU, the forkserver stays without CUDA, which would not survive a fork
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    # a run's log is not a terminal; this makes huggingface_hub draw its download bar there all the same
    "TQDM_POSITION": "-1",
}
"""Of the processes that carry out runs and jobs, where the worker's own says nothing else."""
CARD_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Whatever the worker's own says: cuda:1 is the same GPU for torch as for the page, which asks NVML."""


def forkserver(experiment: str, jobs: str) -> ForkServerContext:
    """Sets the environment of this process, which its children have; the forkserver itself starts with the first of them, or before."""
    for name, value in RUN_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.update(CARD_ORDER)
    context = multiprocessing.get_context("forkserver")
    loaded = LOADED_BY_RUNS if experiment == EXPERIMENT else ()
    context.set_forkserver_preload([experiment, jobs, run_child.__module__, *loaded])
    return context


def start_early() -> None:
    """Starts the forkserver of this process, so that the first run does not wait until torch is loaded; returns at once.

    Not where memory is short: a workspace may only be looked at.
    """
    if machine_memory()[0] >= PLENTY * PROCESS_BYTES:
        with contextlib.suppress(OSError):  # what the machine lacks is told where a run or a job needs it
            ensure_running()
