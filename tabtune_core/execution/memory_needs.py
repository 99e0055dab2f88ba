"""What queued runs will take of the machine's memory, from what is known of their table without opening it.

In: runs that start together in one process on the CPU. Out: bytes, about. It is worked out in a process forked from that of the runs, as
what it loads for that would stay in the worker; and in a thread, as the worker has others to look after until that process has told.
"""

import contextlib
from collections.abc import Sequence
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
"""In which it is told as a rule."""
PATIENCE_SECONDS = 30.0
"""For the process to start and to tell."""


class MemoryNeeds:
    """Of what goes on or is to be placed, by the ids of its runs; each is worked out once, one after the other."""

    def __init__(self, context: ForkServerContext, store: RunStore) -> None:
        self._context, self._store = context, store
        self._told: dict[tuple[str, ...], Future[float]] = {}
        self._thread = ThreadPoolExecutor(1, "memory-estimate")

    def of(self, ids: Sequence[str]) -> float | None:
        """Bytes, about; None while that is worked out: ask again."""
        if (key := tuple(ids)) not in self._told:
            settings = []
            for run_id in ids:
                with contextlib.suppress(StoreError):  # ended and deleted at once
                    settings.append(self._store.run(run_id).settings)
            self._told[key] = self._thread.submit(need_bytes, self._context, self._store.home, settings)
        with contextlib.suppress(TimeoutError):
            return self._told[key].result(AT_ONCE_SECONDS)
        return None

    def forget(self, ids: Sequence[str]) -> None:
        """Of what has ended."""
        self._told.pop(tuple(ids), None)


def need_bytes(context: ForkServerContext, home: Path, runs: Sequence[RunSettings]) -> float:
    """As estimated before a launch; of references, and where that cannot be told, what a process with torch takes."""
    if not runs or runs[0].strategy in REFERENCES:
        return PROCESS_BYTES
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(sender, home, runs), name="memory estimate", daemon=True)
    with receiver, contextlib.suppress(EOFError, OSError):
        if start(process) is not None:
            sender.close()
            if receiver.poll(PATIENCE_SECONDS):
                return float(receiver.recv())
            process.kill()
    return PROCESS_BYTES


def _tell(sender: Connection, home: Path, runs: Sequence[RunSettings]) -> None:
    with contextlib.suppress(TabTuneError, OSError, LookupError, ArithmeticError, ValueError, TypeError, AttributeError):
        sender.send(estimated(home, runs))  # else the run itself says what is wrong


def estimated(home: Path, runs: Sequence[RunSettings]) -> float:
    """Bytes, at most; raises whatever a table that is not there, or is damaged, leads to."""
    from tabtune_core.analysis.runtime_estimate import TrainedOn, growth_ratio, known_paces
    from tabtune_core.data.datasets import get_dataset
    from tabtune_core.data.encoding import count_features
    from tabtune_core.data.splits import SplitSizes
    from tabtune_core.data.task import kinds_of
    from tabtune_core.models.catalogue import get_card
    from tabtune_core.training.memory.estimate import Sizes
    from tabtune_core.training.memory.fitting import need_of
    from tabtune_core.training.memory.prediction_context import with_shown_rows

    first = runs[0]
    dataset = get_dataset(home, first.dataset)
    features = count_features(kinds_of(dataset.columns, first), first.target)
    label = {column.name: column for column in dataset.columns}[first.target]
    split = SplitSizes.plan(rows=dataset.rows - label.missing, validation_share=first.validation_share, test_share=first.test_share)
    classes = 0 if first.task == "regression" else 2 if first.split_at_median else label.unique
    shown = with_shown_rows(first, features=features, memory_bytes=machine_memory()[1], on_gpu=False)
    sizes = Sizes.plan(shown, split, features=features, classes=classes)
    trained_on = TrainedOn.plan(split, features=features, classes=classes, on_gpu=False)
    ratio = partial(growth_ratio, known_paces(RunStore(home), first.model), trained_on)
    return need_of(runs, get_card(first.model), sizes, on_gpu=False, ratio=ratio).most
