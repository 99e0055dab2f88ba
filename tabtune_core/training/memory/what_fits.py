"""What fits a memory, the inverse of the estimate: the most context rows, the largest rank, and what each lever buys.

In: the settings of a run, the sizes of its table, and bytes of memory. Out: a line for the settings as they are and for
each lever that would change them. Only training is judged: predictions choose their context rows by the memory
(``estimate.with_shown_rows``). Loads no torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tabtune_core.data.splits import SplitSizes
from tabtune_core.machine import PROCESS_BYTES, TIGHT
from tabtune_core.models.cards import LATE, ModelCard
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import SETTINGS, RunSettings
from tabtune_core.training.episodes import EpisodeSize
from tabtune_core.training.memory.estimate import Sizes, estimate_memory, with_shown_rows
from tabtune_core.training.memory.fitting import Growth

LEVERS: dict[str, dict[str, Any]] = {
    "recompute activations": {"gradient_checkpointing": True},
    "late layers only": {"targets": (LATE,)},
    "16-bit numbers (bf16)": {"amp": "bf16"},
}
AS_SET, TOGETHER = "as set", "all of these"
LEAST_ROWS = int(SETTINGS["context_rows"].low or 1)
CHECKED = "Estimated; compared with measurements of the small models on a CPU, up to 1,024 context rows and 20 columns."
"""The runs are those of ``tests/benchmarks/estimate_against_measured.py``."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """What fits with some settings."""

    settings: str
    """Which lever changes the settings, or ``as set``."""
    needed_bytes: float
    """What tensors hold at the peak of training, at the rows and the rank as set."""
    used_bytes: float
    """What the process may take then at most: with Python, torch, and gaps between the tensors."""
    context_rows: int | None
    """Most context rows of a training step, at the rank as set; None if not even the fewest fit."""
    rank: int | None
    """Largest rank, at the context rows as set; None if not even rank 1 fits, or without an adapter."""


@dataclass(frozen=True, slots=True)
class WhatFits:
    """What fits a memory, for one model and table."""

    lines: tuple[Fitting, ...]
    most_rows: int
    """Most context rows that the table and the model allow, however large the memory is."""
    shown_rows: int
    """Context rows that predictions would use."""


@lru_cache(maxsize=64)
def what_fits(
    run: RunSettings, split: SplitSizes, *, features: int, classes: int, memory_bytes: float, on_gpu: bool
) -> WhatFits:
    """Returns what fits, as estimated before anything is measured: a run fits that takes ``TIGHT`` of the memory.

    Raises:
        SettingError: the model does not exist or does not do the task.
        TargetError: a pattern names no adapted layer.
    """
    card = get_card(run.model)
    run = with_shown_rows(run, features=features, memory_bytes=round(memory_bytes), on_gpu=on_gpu)
    whole = EpisodeSize.plan(split.train, batch_size=run.train.batch_size, context_rows=split.train).context
    most_rows = max(LEAST_ROWS, min(whole, card.family.context_limit or whole))

    def peak(settings: RunSettings) -> tuple[float, float]:
        """Returns needed and used bytes."""
        sizes = Sizes.plan(settings, split, features=features, classes=classes)
        estimate = estimate_memory(settings, card, sizes, on_gpu=on_gpu)
        loaded = PROCESS_BYTES + estimate.weights + estimate.adapter
        return estimate.total, loaded + Growth.of(estimate, None).most

    def largest(settings: RunSettings, name: str, low: int, high: int) -> int | None:
        return most(low, high, lambda value: peak(settings.changed(**{name: value}))[1] <= TIGHT * memory_bytes)

    lines = []
    for name, settings in _with_levers(run, card, on_gpu=on_gpu):
        rows = largest(settings, "context_rows", LEAST_ROWS, most_rows)
        rank = None
        if settings.strategy == "peft":
            shapes = card.adapted_shapes(settings.task, settings.lora.targets).values()
            rank = largest(settings, "rank", 1, max((min(shape) for shape in shapes), default=1))
        lines.append(Fitting(name, *peak(settings), rows, rank))
    return WhatFits(tuple(lines), most_rows, min(split.train, run.train.predict_context_rows or split.train))


def most(low: int, high: int, fits: Callable[[int], bool]) -> int | None:
    """Returns the largest number from ``low`` to ``high`` that fits, by bisection; None if ``low`` does not.

    >>> most(1, 100, lambda number: number <= 37), most(5, 100, lambda number: number < 5)
    (37, None)
    """
    if not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _with_levers(run: RunSettings, card: ModelCard, *, on_gpu: bool) -> Iterator[tuple[str, RunSettings]]:
    """Yields the settings as they are, with each lever that would change them, and with all of these."""
    yield AS_SET, run
    open_to = {
        "gradient_checkpointing": bool(card.family.block_lists),
        "targets": run.strategy == "peft",
        "amp": on_gpu and run.strategy != "inference" and run.train.amp == "off",
    }
    useful = {
        name: change
        for name, change in LEVERS.items()
        if all(open_to[setting] and run.value(setting) != value for setting, value in change.items())
    }
    for name, change in useful.items():
        yield name, run.changed(**change)
    if len(useful) > 1:
        every = {setting: value for change in useful.values() for setting, value in change.items()}
        yield TOGETHER, run.changed(**every)
