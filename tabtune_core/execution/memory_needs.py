"""What queued runs will take of the machine's memory, from what is known of their table without opening it.

In: a run that starts on the CPU. Out: bytes, about. It is worked out in a process forked from that of the runs, as
what it loads for that would stay in the worker; and in a thread, as the worker has others to look after until that process has told.
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
"""In which it is told as a rule."""
PATIENCE_SECONDS = 30.0
"""For the process to start and to tell."""


class MemoryNeeds:
    """Of runs that go on or are to be placed, by their ids; each is worked out once, one after the other."""

    def __init__(self, context: ForkServerContext, store: RunStore) -> None:
        self._context, self._store = context, store
        self._told: dict[str, Future[float]] = {}
        self._thread = ThreadPoolExecutor(1, "memory-estimate")

    def of(self, run_id: str) -> float | None:
        """Bytes, about; None while that is worked out: ask again."""
        if run_id not in self._told:
            settings = None
            with contextlib.suppress(StoreError):  # ended and deleted at once
                settings = self._store.run(run_id).settings
            self._told[run_id] = self._thread.submit(need_bytes, self._context, self._store.home, settings)
        with contextlib.suppress(TimeoutError):
            return self._told[run_id].result(AT_ONCE_SECONDS)
        return None

    def forget(self, run_id: str) -> None:
        """Of what has ended."""
        self._told.pop(run_id, None)


def need_bytes(context: ForkServerContext, home: Path, run: RunSettings | None) -> float:
    """As estimated before a launch; of references, and where that cannot be told, what a process with torch takes."""
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
        sender.send(estimated(home, run))  # else the run itself says what is wrong


def estimated(home: Path, run: RunSettings) -> float:
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

    dataset = get_dataset(home, run.dataset)
    features = count_features(kinds_of(dataset.columns, run), run.target)
    label = {column.name: column for column in dataset.columns}[run.target]
    split = SplitSizes.plan(rows=dataset.rows - label.missing, validation_share=run.validation_share, test_share=run.test_share)
    classes = 0 if run.task == "regression" else 2 if run.split_at_median else label.unique
    shown = with_shown_rows(run, features=features, memory_bytes=machine_memory()[1], on_gpu=False)
    sizes = Sizes.plan(shown, split, features=features, classes=classes)
    trained_on = TrainedOn.plan(split, features=features, classes=classes, on_gpu=False)
    ratio = partial(growth_ratio, known_paces(RunStore(home), run.model), trained_on)
    return need_of([run], get_card(run.model), sizes, on_gpu=False, ratio=ratio).most
