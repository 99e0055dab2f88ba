"""Estimates the memory that queued runs will need, from facts about their table, without opening it.

In: a run that starts on the CPU. Out: bytes, approximately. The estimate is made in a process forked from that of the runs, so that the
modules it loads do not stay in the worker; a thread waits for it, so that the worker can go on.
"""

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from tabtune_core.errors import StoreError, TabTuneError
from tabtune_core.execution.processes import start
from tabtune_core.machine import PROCESS_BYTES, machine_memory
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.store.runs import RunStore

AT_ONCE_SECONDS = 0.2
"""How long to wait for an estimate, which usually takes less."""
PATIENCE_SECONDS = 30.0
"""How long the process may take to start and to answer."""


class MemoryNeeds:
    """Memory needs of running and queued runs by id; each is estimated once, one after the other."""

    def __init__(self, context: ForkServerContext, store: RunStore) -> None:
        self._context, self._store = context, store
        self._told: dict[str, Future[float]] = {}
        self._thread = ThreadPoolExecutor(1, "memory-estimate")

    def of(self, run_id: str) -> float | None:
        """Returns bytes, approximately; None while the estimate is being made: ask again."""
        if run_id not in self._told:
            settings = None
            with contextlib.suppress(StoreError):  # the run was deleted
                settings = self._store.run(run_id).settings
            self._told[run_id] = self._thread.submit(need_bytes, self._context, self._store.home, settings)
        with contextlib.suppress(TimeoutError):
            return self._told[run_id].result(AT_ONCE_SECONDS)
        return None

    def forget(self, run_id: str) -> None:
        """Drops the estimate of a run that has ended."""
        self._told.pop(run_id, None)


def need_bytes(context: ForkServerContext, home: Path, run: RunSettings | None) -> float:
    """Returns the estimate made before a launch; for reference models, and if it fails, the memory of a process with torch."""
    if run is None or run.strategy in REFERENCES:
        return PROCESS_BYTES
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(sender, home, run), name="memory estimate", daemon=True)
    with receiver, contextlib.suppress(EOFError, OSError):
        if start(process) is not None:
            sender.close()
            if receiver.poll(PATIENCE_SECONDS):
                return float(receiver.recv())
            process.kill()
    return PROCESS_BYTES


def _tell(sender: Connection, home: Path, run: RunSettings) -> None:
    with contextlib.suppress(TabTuneError, OSError, LookupError, ArithmeticError, ValueError, TypeError, AttributeError):
        sender.send(estimated(home, run))  # after an error, the run itself will report what is wrong


def estimated(home: Path, run: RunSettings) -> float:
    """Returns the upper end of the estimate in bytes; a missing or damaged table raises any error."""
    from tabtune_core.analysis.runtime_estimate import TrainedOn, growth_ratio, known_paces
    from tabtune_core.data.datasets import get_dataset
    from tabtune_core.data.encoding import count_features
    from tabtune_core.data.splits import SplitSizes, group_rows
    from tabtune_core.data.task import kinds_of
    from tabtune_core.models.catalogue import get_card
    from tabtune_core.training.memory.estimate import Sizes
    from tabtune_core.training.memory.fitting import need_of
    from tabtune_core.training.memory.prediction_context import with_shown_rows

    dataset = get_dataset(home, run.dataset)
    features = count_features(kinds_of(dataset.columns, run), run.target)
    label = {column.name: column for column in dataset.columns}[run.target]
    split = SplitSizes.plan(group_rows(dataset.rows - label.missing), run.validation_share, run.test_share)
    classes = 0 if run.task == "regression" else 2 if run.split_at_median else label.unique
    shown = with_shown_rows(run, features=features, memory_bytes=machine_memory()[1], on_gpu=False)
    sizes = Sizes.plan(shown, split, features=features, classes=classes)
    trained_on = TrainedOn.plan(split, features=features, classes=classes, on_gpu=False)
    ratio = partial(growth_ratio, known_paces(RunStore(home), run.model), trained_on)
    return need_of([run], get_card(run.model), sizes, on_gpu=False, ratio=ratio).most
