"""Whether runs fit the memory of their device, before they start. Loads no torch.

In: the estimate of each run and what the device has. Out: bytes, a judgement, and the sentence that refuses what cannot fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tabtune_core.machine import PROCESS_BYTES, TIGHT
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.store.packs import largest_pack
from tabtune_core.training.memory.estimate import MemoryByCause, Sizes, estimate_memory, prediction_bytes

Fit = Literal["fits", "tight", "exceeds"]


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Of the device that runs would take."""

    name: str
    """In words: ``the CPU`` or ``cuda:0``."""
    free_bytes: float | None
    all_bytes: float | None
    """None where its driver does not tell."""
    on_gpu: bool

    @classmethod
    def of(cls, asked: str, machine: tuple[int, int], cards: Sequence[tuple[int, int] | None]) -> "DeviceMemory":
        """For a setting ``device``; free and total bytes of the machine and of each card."""
        if asked == "cpu" or (asked == "auto" and not cards):
            return cls("the CPU", *machine, False)
        place = int(asked.partition(":")[2] or 0) if asked != "auto" else 0
        memory = cards[place] if place < len(cards) else None
        free_bytes, all_bytes = memory or (None, None)
        return cls(f"cuda:{place}", free_bytes, all_bytes, True)


@dataclass(frozen=True, slots=True)
class Need:
    """The most that one of some runs takes at once, with its process."""

    bytes: float
    predicting: bool
    """Whether that is while it predicts."""


def judge(need_bytes: float, free_bytes: float) -> Fit:
    """Whether a need fits what is free.

    >>> judge(5e9, 10e9), judge(9e9, 10e9), judge(11e9, 10e9)
    ('fits', 'tight', 'exceeds')
    """
    return "fits" if need_bytes <= TIGHT * free_bytes else "tight" if need_bytes <= free_bytes else "exceeds"


def heaviest(runs: Sequence[RunSettings], card: ModelCard, sizes: Sizes, *, on_gpu: bool) -> MemoryByCause:
    """Of the runs that a model does, the one that takes most; runs that differ in nothing that memory asks for are one."""
    distinct = {
        (run.strategy, run.lora.rank, run.lora.targets, run.lora.dropout > 0): run for run in runs if run.strategy not in REFERENCES
    }
    return max((estimate_memory(run, card, sizes, on_gpu=on_gpu) for run in distinct.values()), key=lambda memory: memory.total)


def need_of(runs: Sequence[RunSettings], card: ModelCard, sizes: Sizes, *, on_gpu: bool) -> Need:
    """Most that a run of one seed, or the runs of a quick sweep that train together, take: while training, or while predicting."""
    training = heaviest(runs, card, sizes, on_gpu=on_gpu)
    together = training.weights + largest_pack(runs) * (training.total - training.weights)
    predicting = prediction_bytes(
        card, runs[0].task, shown=sizes.shown_rows, features=sizes.features, on_gpu=on_gpu, predicted_rows=sizes.predicted_rows
    )
    while_predicting = training.weights + training.adapter + predicting
    return Need(PROCESS_BYTES + max(together, while_predicting), predicting=while_predicting > together)


def cannot_fit(need: Need, device: DeviceMemory, settings: RunSettings) -> str | None:
    """Why runs cannot fit the device however little else there is, with what to lower; None where they may, or its size is not known."""
    if device.all_bytes is None or need.bytes <= device.all_bytes:
        return None
    train = settings.train
    rows = f"predict_context_rows (now {train.predict_context_rows or 'all that fit'})"
    if not need.predicting:
        rows = f"context_rows (now {train.context_rows}), then batch_size (now {train.batch_size})"
    return (
        f"This needs about {need.bytes / 1e9:,.1f} GB of memory, as estimated; {device.name} has {device.all_bytes / 1e9:,.1f} GB in all."
        f" Lower {rows}."
    )
