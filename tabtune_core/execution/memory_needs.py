"""Estimates the memory that queued runs will need, from facts about their table, without opening it.

In: a run that starts on the CPU. Out: bytes, approximately. The worker loads what this needs, such as pandas, with the
first estimate.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial

from tabtune_core.errors import StoreError, TabTuneError
from tabtune_core.files.damaged import ODD
from tabtune_core.machine import PROCESS_BYTES, machine_memory
from tabtune_core.settings import REFERENCES, RunSettings
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
    from tabtune_core.training.memory.estimate import Sizes
    from tabtune_core.training.memory.fitting import need_of
    from tabtune_core.training.memory.prediction_context import with_shown_rows

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
