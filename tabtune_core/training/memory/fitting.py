"""Judges before the start whether runs fit the memory of their device. Loads no torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tabtune_core.machine import PROCESS_BYTES, TIGHT
from tabtune_core.models.activation_tape import NUMBER_BYTES
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.training.memory.estimate import (
    CPU_FIRST_USE_BYTES,
    MemoryByCause,
    Sizes,
    estimate_memory,
    prediction_bytes,
)

Fit = Literal["fits", "tight", "exceeds"]
Ratio = Callable[[RunSettings], float | None]
"""Maps a run to the ratio of measured to estimated growth of memory of similar runs; None without such runs."""
LEAST, MOST = 0.7, 1.65
"""Range of the ratio of measured to estimated growth that holds nine in ten runs without earlier measurements."""
SMALL_BYTES = 20e6
"""Growth below this is not shown as a number: two huge pages of 2 MB more or less are a fifth of it."""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory of the device that runs would use."""

    name: str
    """For sentences: ``the CPU`` or ``cuda:0``."""
    free_bytes: float | None
    all_bytes: float | None
    """None if the driver does not report it."""
    on_gpu: bool

    @classmethod
    def of(cls, asked: str, machine: tuple[int, int], cards: Sequence[tuple[int, int] | None]) -> "DeviceMemory":
        """Returns the memory for a setting ``device``, from free and total bytes; for 'auto' of the smallest GPU."""
        if asked == "cpu" or (asked == "auto" and not cards):
            return cls("the CPU", *machine, False)
        kind, _, number = ("cuda" if asked == "auto" else asked).partition(":")
        place = int(number or 0)
        if asked == "auto":
            place = min(range(len(cards)), key=lambda one: (cards[one] or (0, math.inf))[1])
        memory = cards[place] if kind == "cuda" and place < len(cards) else None
        free_bytes, all_bytes = memory or (None, None)
        return cls(f"{kind}:{place}", free_bytes, all_bytes, True)


@dataclass(frozen=True, slots=True)
class Growth:
    """Growth of memory over the loaded model at the peak of training, in bytes."""

    least: float
    most: float

    @classmethod
    def of(cls, estimate: MemoryByCause, ratio: float | None) -> "Growth":
        """Returns a single number if the ``ratio`` of similar runs is known, else a band; small values are a band."""
        if ratio is None:
            least = LEAST * max(0.0, estimate.growth - CPU_FIRST_USE_BYTES)
            return cls(least, max(SMALL_BYTES, MOST * estimate.growth))
        likely = ratio * estimate.growth
        return cls(likely, likely) if likely >= SMALL_BYTES else cls(0.0, SMALL_BYTES)


@dataclass(frozen=True, slots=True)
class Need:
    """Peak bytes of the largest of some runs, including its process."""

    least: float
    most: float
    """Equals ``least`` if the growth of similar runs was measured."""
    predicting: bool
    """Whether the peak occurs during prediction."""


def judge(need: Need, free_bytes: float) -> Fit:
    """Judges whether a need fits the free memory; it is tight if its lower end fits, but its upper end may not.

    >>> [judge(Need(most / 2, most, False), 10e9) for most in (8e9, 9e9, 19e9, 21e9)]
    ['fits', 'tight', 'tight', 'exceeds']
    """
    return "fits" if need.most <= TIGHT * free_bytes else "tight" if need.least <= free_bytes else "exceeds"


def need_of(
    runs: Sequence[RunSettings], card: ModelCard, sizes: Sizes, *, on_gpu: bool, ratio: Ratio = lambda run: None
) -> Need:
    """Returns the most that one of the runs needs, during training or prediction."""
    of_models = (run for run in runs if run.strategy not in REFERENCES)
    distinct = {(run.strategy, run.lora.rank, run.lora.targets, run.lora.dropout > 0): run for run in of_models}
    least, most, adapter = 0.0, 0.0, 0
    for run in distinct.values():
        estimate = estimate_memory(run, card, sizes, on_gpu=on_gpu)
        growth, adapter = Growth.of(estimate, ratio(run)), max(adapter, estimate.adapter)
        least, most = max(least, estimate.adapter + growth.least), max(most, estimate.adapter + growth.most)
    rows = {"shown": sizes.shown_rows, "features": sizes.features, "predicted_rows": sizes.predicted_rows}
    predicting = adapter + prediction_bytes(card, runs[0].task, on_gpu=on_gpu, **rows)
    fixed = PROCESS_BYTES + NUMBER_BYTES * card.weights_for(runs[0].task).total_parameters
    return Need(fixed + max(least, predicting), fixed + max(most, predicting), predicting=predicting > most)


def between(least: float, most: float, unit: float, digits: int) -> str:
    """Writes a number, or a band if its ends differ after rounding.

    >>> between(45e6, 95.4e6, 1e6, 0), between(0.52e9, 0.54e9, 1e9, 1), between(3e5, 20e6, 1e6, 0)
    ('45 to 95', 'about 0.5', 'less than 20')
    """
    low, high = (f"{end / unit:,.{digits}f}" for end in (least, most))
    return f"about {high}" if low == high else f"{low} to {high}" if low.strip("0.") else f"less than {high}"


def cannot_fit(need: Need, device: DeviceMemory, settings: RunSettings) -> str | None:
    """Says why runs cannot fit the device even if it is empty, and what to do; None if they may or it is unknown."""
    if device.all_bytes is None or need.least <= device.all_bytes:
        return None
    train = settings.train
    rows = f"predict_context_rows (now {train.predict_context_rows or 'all that fit'})"
    if not need.predicting:
        rows = f"context_rows (now {train.context_rows}), then batch_size (now {train.batch_size})"
    digits = next((n for n in (1, 2) if round(need.least / 1e9, n) > round(device.all_bytes / 1e9, n)), 3)
    one_of_several = settings.device == "auto" and device.on_gpu
    other = " Or name a larger GPU as the device, if there is one." * one_of_several
    return (
        f"This needs {between(need.least, need.most, 1e9, digits)} GB of memory, as estimated; {device.name} has "
        f"{device.all_bytes / 1e9:,.{digits}f} GB in all. Lower {rows}.{other}"
    )
