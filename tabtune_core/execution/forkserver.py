"""The process that runs and jobs are forked from. It has torch loaded, but never CUDA, so that a child starts in
milliseconds.

In: the modules that carry out runs and jobs. Out: a multiprocessing context whose processes are forks of it.
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
"""Free memory, in units of a process with torch loaded, that is enough to start one more early."""
LOADED_BY_RUNS = ("torch._dynamo", "tabtune_core.models.tabicl.model", "tabtune_core.models.tabdpt.model")
"""Modules that every run would load itself: torch._dynamo, which the first optimizer needs, takes over a second."""
RUN_ENVIRONMENT = {
    # threads that spin while they wait make a step ten times slower as soon as anything else uses the processor
    "OMP_WAIT_POLICY": "PASSIVE",
    # huge pages for large tensors: a step on the CPU takes about 5 % less time, and the same memory
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # torch checks for a GPU through NVML, so that the forkserver does not start CUDA, which would not survive a fork
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    # makes huggingface_hub draw its download bar in a run's log, although that is not a terminal
    "TQDM_POSITION": "-1",
}
"""Environment of the processes that carry out runs and jobs; values that the worker's own environment has are kept."""
CARD_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Overrides the worker's own environment, so that cuda:1 is the same GPU for torch as for the page, which asks NVML."""


def forkserver(experiment: str, jobs: str) -> ForkServerContext:
    """Sets this process's environment, which its children inherit; the forkserver starts with the first child."""
    for name, value in RUN_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.update(CARD_ORDER)
    context = multiprocessing.get_context("forkserver")
    loaded = LOADED_BY_RUNS if experiment == EXPERIMENT else ()
    context.set_forkserver_preload([experiment, jobs, run_child.__module__, *loaded])
    return context


def start_early() -> None:
    """Starts the forkserver now, so that the first run does not wait until torch is loaded; returns at once.

    Does nothing if memory is short, because perhaps no run will ever start.
    """
    if machine_memory()[0] >= PLENTY * PROCESS_BYTES:
        with contextlib.suppress(OSError):  # a shortage is reported when a run or a job needs the process
            ensure_running()
