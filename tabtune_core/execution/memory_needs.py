"""What queued runs will take of the machine's memory, from what is known of their table without opening it. Loads no torch.

In: runs that start together in one process on the CPU. Out: bytes, about.
"""

from collections.abc import Sequence
from pathlib import Path

from tabtune_core.errors import TabTuneError
from tabtune_core.machine import machine_memory
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.training.memory.fitting import PROCESS_BYTES


def need_bytes(home: Path, runs: Sequence[RunSettings]) -> float:
    """As estimated before a launch; of references, and where that cannot be told, what a process with torch takes."""
    if runs[0].strategy in REFERENCES:
        return PROCESS_BYTES
    try:
        return _estimated(home, runs)
    except (TabTuneError, OSError, ValueError, KeyError, TypeError):
        return PROCESS_BYTES  # the run itself says what is wrong


def _estimated(home: Path, runs: Sequence[RunSettings]) -> float:
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
    return need_of(runs, get_card(first.model), Sizes.plan(shown, split, features=features, classes=classes), on_gpu=False).bytes
