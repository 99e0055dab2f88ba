"""Whether runs fit the memory of their device and the disk of their workspace, before they start. Loads no torch.

In: the estimate of each run and what the device or the disk has. Out: bytes, a judgement, and the sentence that refuses what cannot fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tabtune_core.data.splits import SplitSizes
from tabtune_core.machine import PROCESS_BYTES, TIGHT, disk_of
from tabtune_core.models.activation_tape import NUMBER_BYTES
from tabtune_core.models.cards import ModelCard, adapter_size
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.training.memory.estimate import CPU_FIRST_USE_BYTES, MOMENTS, MemoryByCause, Sizes, estimate_memory, prediction_bytes

Fit = Literal["fits", "tight", "exceeds"]
Ratio = Callable[[RunSettings], float | None]
"""Maps a run to measured over estimated growth of memory of similar runs; None without such runs."""
LEAST, MOST = 0.7, 1.65
"""Measured growth of memory over the estimated one: nine in ten runs lie between, of which nothing was measured before."""
SMALL_BYTES = 20e6
"""Growth too small to be shown as a number: two huge pages of 2 MB more or less are a fifth of it."""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Of the device that runs would take."""

    name: str
    """In words: ``the CPU`` or ``cuda:0``."""
    free_bytes: float | None
    all_bytes: float | None
    """None where its driver does not report it."""
    on_gpu: bool

    @classmethod
    def of(cls, asked: str, machine: tuple[int, int], cards: Sequence[tuple[int, int] | None]) -> "DeviceMemory":
        """For a setting ``device``; free and total bytes of the machine and of each GPU."""
        if asked == "cpu" or (asked == "auto" and not cards):
            return cls("the CPU", *machine, False)
        place = int(asked.partition(":")[2] or 0) if asked != "auto" else 0
        kind = "cuda" if asked == "auto" else asked.partition(":")[0]
        memory = cards[place] if kind == "cuda" and place < len(cards) else None
        free_bytes, all_bytes = memory or (None, None)
        return cls(f"{kind}:{place}", free_bytes, all_bytes, True)


@dataclass(frozen=True, slots=True)
class Growth:
    """Of memory over the loaded model, at the peak of training; bytes."""

    least: float
    most: float

    @classmethod
    def of(cls, estimate: MemoryByCause, ratio: float | None) -> "Growth":
        """A number where similar runs were measured, whose ``ratio`` is known; else a band. Small values are always a band."""
        if ratio is None:
            return cls(LEAST * max(0.0, estimate.growth - CPU_FIRST_USE_BYTES), max(SMALL_BYTES, MOST * estimate.growth))
        likely = ratio * estimate.growth
        return cls(likely, likely) if likely >= SMALL_BYTES else cls(0.0, SMALL_BYTES)


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that the largest of some runs takes at once, with its process."""

    least: float
    most: float
    """The same where its growth was measured."""
    predicting: bool
    """Whether that is while it predicts."""


def judge(need: Need, free_bytes: float) -> Fit:
    """Whether a need fits what is free: where only its upper end does not, it is tight.

    >>> [judge(Need(most / 2, most, False), 10e9) for most in (8e9, 9e9, 19e9, 21e9)]
    ['fits', 'tight', 'tight', 'exceeds']
    """
    return "fits" if need.most <= TIGHT * free_bytes else "tight" if need.least <= free_bytes else "exceeds"


def need_of(runs: Sequence[RunSettings], card: ModelCard, sizes: Sizes, *, on_gpu: bool, ratio: Ratio = lambda run: None) -> Need:
    """Most that a run of one seed takes: while training, or while predicting."""
    distinct = {
        (run.strategy, run.lora.rank, run.lora.targets, run.lora.dropout > 0): run for run in runs if run.strategy not in REFERENCES
    }
    least, most, adapter = 0.0, 0.0, 0
    for run in distinct.values():
        estimate = estimate_memory(run, card, sizes, on_gpu=on_gpu)
        growth, adapter = Growth.of(estimate, ratio(run)), max(adapter, estimate.adapter)
        least, most = max(least, estimate.adapter + growth.least), max(most, estimate.adapter + growth.most)
    predicting = adapter + prediction_bytes(
        card, runs[0].task, shown=sizes.shown_rows, features=sizes.features, on_gpu=on_gpu, predicted_rows=sizes.predicted_rows
    )
    fixed = PROCESS_BYTES + NUMBER_BYTES * card.weights_for(runs[0].task).total_parameters
    return Need(fixed + max(least, predicting), fixed + max(most, predicting), predicting=predicting > most)


def between(least: float, most: float, unit: float, digits: int) -> str:
    """A number, or a band where its ends differ as they are written.

    >>> between(45e6, 95.4e6, 1e6, 0), between(0.52e9, 0.54e9, 1e9, 1), between(3e5, 20e6, 1e6, 0)
    ('45 to 95', 'about 0.5', 'less than 20')
    """
    low, high = (f"{end / unit:,.{digits}f}" for end in (least, most))
    return f"about {high}" if low == high else f"{low} to {high}" if low.strip("0.") else f"less than {high}"


def cannot_fit(need: Need, device: DeviceMemory, settings: RunSettings) -> str | None:
    """Why runs cannot fit the device however little else there is, with what to lower; None where they may, or its size is not known."""
    if device.all_bytes is None or need.least <= device.all_bytes:
        return None
    train = settings.train
    rows = f"predict_context_rows (now {train.predict_context_rows or 'all that fit'})"
    if not need.predicting:
        rows = f"context_rows (now {train.context_rows}), then batch_size (now {train.batch_size})"
    digits = next((n for n in (1, 2) if round(need.least / 1e9, n) > round(device.all_bytes / 1e9, n)), 3)
    return (
        f"This needs {between(need.least, need.most, 1e9, digits)} GB of memory, as estimated; {device.name} has "
        f"{device.all_bytes / 1e9:,.{digits}f} GB in all. Lower {rows}."
    )


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
