"""Whether runs fit the disk of their workspace, before they start. Loads no torch.

In: the runs, their model and how the table is split. Out: bytes, and the sentence that refuses what cannot fit. What runs share
(``array_cache``) is not counted: it is kept where there is room, and goes within its own limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabtune_core.data.splits import SplitSizes
from tabtune_core.machine import disk_of
from tabtune_core.models.activation_tape import NUMBER_BYTES
from tabtune_core.models.adapter_size import adapter_size
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import RunSettings
from tabtune_core.training.memory.estimate import MOMENTS

RUN_BYTES = 150_000
"""Of a run's rows in the database, its log and the texts beside an adapter."""
BEST_STATES = 3
"""That lie there at once: the first, the best, and the new one beside it (see ``best_checkpoint``)."""


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """Bytes that runs write into their workspace."""

    kept: int
    """For good: adapters, weights of full fine-tuning, predictions, events."""
    meanwhile: int
    """Most beside them: the states of the run that trains."""

    @property
    def bytes(self) -> int:
        """All of it, as when the last run trains."""
        return self.kept + self.meanwhile


def disk_need(runs: Sequence[RunSettings], card: ModelCard, split: SplitSizes, *, classes: int, times: int = 1) -> DiskNeed:
    """What runs of one model write, one of which trains at a time; each is done some ``times``. ``classes`` is 0 for numbers.

    Raises:
        TargetError: a pattern that names no adapted layer.
    """
    kept, states = 0, [0]
    for run in runs:
        train = run.train
        rows = min(split.validation, train.validation_rows) + min(split.test, train.test_rows)
        kept += RUN_BYTES + 2 * 8 * rows * (1 + classes)  # of the trained and the pretrained model
        if run.strategy == "peft":
            adapter = adapter_size(card, run.task, run.lora)
            kept, trained = kept + adapter.tensor_bytes, NUMBER_BYTES * adapter.trainable
        elif run.strategy == "base-ft":
            trained = NUMBER_BYTES * card.weights_for(run.task).total_parameters
            kept += trained
        else:
            continue
        states.append(trained * (BEST_STATES + 2 * (1 + MOMENTS[train.optimizer])))  # the last state, and the new one beside it
    return DiskNeed(times * kept, max(states))


def no_room(need: DiskNeed, home: Path) -> str | None:
    """Why runs do not fit the disk of their workspace, with what to do; None where they may."""
    disk = disk_of(home)
    if disk is None or need.bytes <= disk.free_bytes:
        return None
    return (
        f"This needs about {_size(need.bytes)} on the disk of {home}, as estimated ({_size(need.kept)} of it stay); "
        f"{_size(disk.free_bytes)} are free. Delete runs, or start fewer; full fine-tuning takes most."
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"
