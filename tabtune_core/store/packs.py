"""Which runs of a quick sweep train together: those that differ in the adapter's size, strength and rate alone.

In: settings, queued runs. Out: packs. Loads no torch.
"""

import dataclasses
from collections.abc import Sequence

from tabtune_core.settings import RunSettings
from tabtune_core.store.run_row import Run

MOST_TOGETHER = 8
"""Runs of a pack: its activations are those of all of them."""


def fellows(first: Run, queued: Sequence[Run]) -> list[Run]:
    """The run and those of its sweep that train with it, in the order of the queue; itself alone where it is of no quick sweep."""
    kind = _in_common(first.settings)
    together = [run for run in queued if run.sweep == first.sweep and run.id != first.id and kind and _in_common(run.settings) == kind]
    return [first, *together][:MOST_TOGETHER]


def largest_pack(runs: Sequence[RunSettings]) -> int:
    """How many of these runs train at once."""
    kinds, most = [kind for kind in map(_in_common, runs) if kind], 1
    while kinds and most < MOST_TOGETHER:
        others = [kind for kind in kinds if kind != kinds[0]]
        kinds, most = others, max(most, len(kinds) - len(others))
    return min(MOST_TOGETHER, most)


def _in_common(settings: RunSettings) -> RunSettings | None:
    """What LoRA runs that are shown the same episodes and adapt the same parts share; None for a run of no quick sweep."""
    if not settings.quick_sweep or settings.strategy != "peft":
        return None
    lora = dataclasses.replace(settings.lora, rank=1, alpha=None, dropout=0.0, use_rslora=False, rank_pattern={}, alpha_pattern={})
    return dataclasses.replace(settings, lora=lora, train=dataclasses.replace(settings.train, learning_rate=None))
