"""The executor of this machine: forks one process per task, which writes to the store itself.

One task at a time runs on each GPU and on each share of the CPU's cores, so that its time and memory are its own.
In: runs of the queue. Out: processes on slots; why a process ended.
"""

import logging
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from typing import Literal

import psutil

from tabtune_core.errors import StoreError, TabTuneError
from tabtune_core.events import StopRequest
from tabtune_core.execution.child import run_child
from tabtune_core.execution.cluster import forget_cluster
from tabtune_core.execution.cores import CPU, Shares, cores_of, divide
from tabtune_core.execution.executor import LOCAL, Ended, Placement
from tabtune_core.execution.processes import Watched, cause, start
from tabtune_core.files.damaged import ODD
from tabtune_core.gpus import count_cards, is_untold, named_gpu
from tabtune_core.machine import PROCESS_BYTES, TIGHT, machine_memory
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore


def needs_of(store: RunStore) -> Callable[[str], float]:
    """Returns a function that estimates the need of a run in bytes by its id, each run's once.

    It is the estimate made before a launch; for reference models, and if it fails, the memory of a process with torch.
    """

    @cache
    def need(run_id: str) -> float:
        with suppress(StoreError):  # the run was deleted
            run = store.run(run_id).settings
            if run.strategy not in REFERENCES:
                with suppress(TabTuneError, *ODD):  # the run itself will report what is wrong
                    return estimated(store, run)
        return PROCESS_BYTES

    return need


def estimated(store: RunStore, run: RunSettings) -> float:
    """Returns the upper end of the estimate in bytes; a missing or damaged table raises any error."""
    from tabtune_core.analysis.runtime_estimate import TrainedOn, growth_ratio, known_paces
    from tabtune_core.data.datasets import get_dataset
    from tabtune_core.data.splits import SplitSizes, group_rows
    from tabtune_core.data.task import features_of
    from tabtune_core.models.catalogue import get_card
    from tabtune_core.training.memory.estimate import Sizes, with_shown_rows
    from tabtune_core.training.memory.fitting import need_of

    dataset = get_dataset(store.home, run.dataset)
    features = features_of(dataset.columns, run)
    label = {column.name: column for column in dataset.columns}[run.target]
    split = SplitSizes.plan(group_rows(dataset.rows - label.missing), run.validation_share, run.test_share)
    classes = 0 if run.task == "regression" else 2 if run.split_at_median else label.unique
    shown = with_shown_rows(run, features=features, memory_bytes=machine_memory()[1], on_gpu=False)
    sizes = Sizes.plan(shown, split, features=features, classes=classes)
    trained_on = TrainedOn.plan(split, features=features, classes=classes, on_gpu=False)
    ratio = partial(growth_ratio, known_paces(store, run.model), trained_on)
    return need_of([run], get_card(run.model), sizes, on_gpu=False, ratio=ratio).most


def slots_of(device: str, cards: int) -> list[str]:
    """Returns the slots that suit a setting ``device``, the preferred one first; ``cpu`` is any share of the cores.

    A run that asks for a missing GPU gets a slot of the CPU, and its process reports the error; if the driver
    does not answer, it gets the slot of that GPU. 'auto' is the CPU if no GPU is counted.

    >>> slots_of("auto", 2), slots_of("cuda", 2), slots_of("auto", 0)
    (['cuda:0', 'cuda:1'], ['cuda:0'], ['cpu'])
    """
    if device == "auto" and cards:
        return [f"cuda:{place}" for place in range(cards)]
    place = named_gpu(device)
    return [f"cuda:{place}"] if place is not None and (place < cards or is_untold(device)) else [CPU]


_log = logging.getLogger(__name__)


class LocalExecutor:
    """Processes of this machine; ``experiment`` is the module whose ``run_experiment`` carries out a run."""

    name = LOCAL

    def __init__(
        self, store: RunStore, context: ForkServerContext, experiment: str, *, shares: Shares | None = None
    ) -> None:
        self.store, self.context, self.experiment = store, context, experiment
        self.shares = shares or divide()
        self.cards = count_cards()
        self.need_of = needs_of(store)
        """Used if several tasks run at once."""
        self.waits = ""
        """Id of the run that was last logged as waiting for memory."""
        forget_cluster(store.home)
        _log.info("On the CPU %d at once; threads of each: %d.", self.shares.parallel, self.shares.threads)

    def place(self, queued: Sequence[Run], going: Sequence[Watched]) -> Placement | None:
        """Chooses the first run that suits a free slot.

        A run that suits several GPUs gets one that no other queued run asks for by name, if such a GPU is free. If a
        run on the CPU does not fit in memory, all later runs on the CPU wait too; otherwise it might never start.
        """
        self.cards = count_cards() or self.cards  # if all GPUs are lost, a run ends with an error: it does not move
        taken, beside = {task.slot for task in going}, [task for task in going if task.slot.startswith(CPU)]
        on_cpu = self.shares.next([task.slot for task in beside])
        fitting = [slots_of(run.settings.device, self.cards) for run in queued]
        named = {slots[0] for slots in fitting if len(slots) == 1}
        for run, slots in zip(queued, fitting, strict=True):
            if slots == [CPU]:
                if on_cpu is not None and self._fits(beside, run):
                    return Placement(run, on_cpu, platform.node())
                on_cpu = None
            elif free := [slot for slot in slots if slot not in taken]:
                return Placement(run, min(free, key=lambda slot: slot in named), platform.node())
        return None

    def _fits(self, beside: Sequence[Watched], run: Run) -> bool:
        """Whether free memory suffices for the run and the expected growth of the others; a run alone always fits."""
        if not beside:
            return True
        need, free = self.need_of(run.id), machine_memory()[0]
        to_come = sum(max(0.0, self.need_of(task.id) - _resident(task.pid)) for task in beside)
        if to_come + need <= TIGHT * free:
            return True
        if self.waits != run.id:
            self.waits = run.id
            sizes = run.id, need / 1e9, to_come / 1e9, free / 1e9
            _log.info("Run %s waits: it needs %.1f GB, those that go on %.1f GB more; %.1f GB are free.", *sizes)
        return False

    def start(self, run: Run, placement: Placement) -> Watched | None:
        """Forks the run's process."""
        slot, held, on_cpu = placement.slot, self.shares, placement.slot.startswith(CPU)
        cores = cores_of(slot, ()) if on_cpu and held.pinned else ()
        # a missing GPU that the settings name is for the process to report
        device = slot if not on_cpu else CPU if run.settings.device == "auto" else None
        given = (self.store.home, run.id, self.experiment, device, cores, held.threads if on_cpu else None)
        process = self.context.Process(target=run_child, args=given, name=f"run-{run.id}")
        if task := start(process, run.id, slot):
            _log.info("Run %s is process %d on %s.", run.id, task.pid, task.slot)
        return task

    def ask(self, task: Watched, wish: StopRequest | Literal["end"] | None) -> None:
        """Kills a process that is late; the run itself reads requests from the store."""
        if wish in ("cancel", "end"):
            task.press(wish)

    def collect(self, task: Watched) -> Ended:
        """Ends what the task started, which would keep the device's memory; its files are in their place already."""
        task.end()
        return Ended(*cause(task, "run"))

    def wait(self, tasks: Sequence[Watched], jobs: Sequence[int], timeout_seconds: float) -> bool:
        """Waits for the end of a process."""
        return bool(wait([*(task.process.sentinel for task in tasks), *jobs], timeout=timeout_seconds))


def _resident(pid: int) -> int:
    """Returns the resident bytes of a process; 0 if it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
