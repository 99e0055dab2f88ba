"""More rows shown, a rank, or both: what the curve over context rows says, and for which runs of a sweep it is asked.

In: the rows that the job ``context_curve`` found, or runs. Out: frames, sentences, runs. Loads no torch.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from tabtune_core.metrics import METRICS
from tabtune_core.settings import STRATEGY_NAMES, RunSettings
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

WEIGHTS_FILE = "weights.safetensors"
"""In the folder of a run that trained all weights and gained by it."""
_OF_A_STRATEGY = ("strategy", "lora", "train", "device")
"""Settings of a run that neither its rows nor its model follow from."""
LEAST, FEW = 64, 256
"""The smallest number of the curve, and the one that its sentence starts from."""


def sizes_up_to(most: int, *, classes: int = 0) -> list[int]:
    """64, 128, ... below ``most``, and ``most``; none that is too small to show every class.

    >>> sizes_up_to(500), sizes_up_to(50), sizes_up_to(300, classes=100)
    ([64, 128, 256, 500], [50], [128, 256, 300])
    """
    powers = [LEAST * 2**i for i in range(most.bit_length())]
    return [*(rows for rows in powers if classes <= rows < most), most]


def same_split(runs: Sequence[RunSettings]) -> bool:
    """Whether runs have one table, target, model, seed and held-out rows, so that their scores can be set side by side."""
    return len({_split(run) for run in runs}) == 1


def _split(run: RunSettings) -> tuple[Any, ...]:
    own = tuple(getattr(run, field.name) for field in fields(run) if field.name not in _OF_A_STRATEGY)
    return (*own, run.train.validation_rows, run.train.test_rows, run.train.views)


def runs_of_curve(store: RunStore, runs: Sequence[Run], metric: str, seed: int | None = None) -> list[Run]:
    """The runs of a sweep whose states a curve compares: the best full fine-tuning and the best LoRA by validation, else zero-shot.

    Of one seed, the first unless one is named, and of the split of its best LoRA; without full fine-tuning whose weights were not kept,
    as in earlier versions.
    """
    known = [run for run in runs if run.status == "finished" and not run.archived and _is_kept(store, run)]
    seeds = [run.settings.seed for run in known]
    known = [run for run in known if run.settings.seed == (min(seeds) if seed is None else seed)] if seeds else []
    ranked = sorted(known, key=lambda run: _cost(run, metric))
    first = next((run for strategy in ("peft", "base-ft", "inference") for run in ranked if run.settings.strategy == strategy), None)
    if first is None:
        return []
    alike = [run for run in ranked if same_split([run.settings, first.settings])]
    chosen = [next((run for run in alike if run.settings.strategy == strategy), None) for strategy in ("base-ft", "peft")]
    return [run for run in chosen if run is not None] or [first]


def _is_kept(store: RunStore, run: Run) -> bool:
    """Whether the state that a run returned can be had again."""
    trained = run.result is not None and run.result.best_step > 0
    return run.settings.strategy != "base-ft" or not trained or (store.home / "runs" / run.id / WEIGHTS_FILE).is_file()


def _cost(run: Run, metric: str) -> float:
    """The less, the better its validation score."""
    value = -METRICS[metric].sign * (run.result.validation.get(metric, np.nan) if run.result else np.nan)
    return value if np.isfinite(value) else np.inf


def curve_frame(result: dict[str, Any]) -> pd.DataFrame:
    """One row a state and number of rows: name, strategy, rank, run, context_rows, seconds, bytes, ``<part>_<metric>``."""
    rows = []
    for point in result["rows"]:
        plain = {name: value for name, value in point.items() if name not in ("validation", "test")}
        rank = "" if point["rank"] is None else f" r={point['rank']}"
        scores = {f"{part}_{name}": value for part in ("validation", "test") for name, value in point.get(part, {}).items()}
        rows.append({"name": STRATEGY_NAMES[point["strategy"]] + rank, **plain, **scores})
    return pd.DataFrame(rows).astype({"rank": "Int64", "growth_memory_bytes": "float64"})


def part_of(frame: pd.DataFrame, metric: str) -> str:
    """The rows to speak of: test, which nothing was chosen by, where there are any."""
    return "test" if f"test_{metric}" in frame and frame[f"test_{metric}"].notna().any() else "validation"


def in_words(frame: pd.DataFrame, metric: str) -> str:
    """What more rows bring, what training brings with as many shown, and what both bring.

    ``frame`` is that of ``curve_frame``. LoRA speaks for training, full fine-tuning where there is none.
    """
    meaning, column = METRICS[metric], f"{part_of(frame, metric)}_{metric}"
    by_state = {strategy: rows.set_index("context_rows")[column] for strategy, rows in frame.groupby("strategy")}
    base = by_state["inference"]
    few, many = (FEW if FEW in base.index and base.index.max() > FEW else base.index.min()), base.index.max()
    unit = f"{part_of(frame, metric)} {meaning.written}"
    more = meaning.sign * (base[many] - base[few])
    trained = next((strategy for strategy in ("peft", "base-ft") if strategy in by_state), None)
    start = (
        f"Using {many:,} context rows instead of {few:,} {_brings(more, metric)} in {unit}"
        if few < many
        else f"All {many:,} context rows are used"
    )
    if trained is None:
        return f"{start}; there is no trained run of this seed to compare with."
    name = "full fine-tuning" if trained == "base-ft" else f"rank {frame.loc[frame['strategy'] == 'peft', 'rank'].iloc[0]}"
    own, both = (meaning.sign * (by_state[trained][many] - base[rows]) for rows in (many, few))
    if few == many:
        return f"{start}: {name} {_brings(own, metric)} in {unit}."
    return f"{start}, {name} {_brings(own, metric)} at that number, both {_brings(both, metric, plural=True)}."


def _brings(gain: float, metric: str, *, plural: bool = False) -> str:
    """In the metric's own digits."""
    size = f"{abs(gain):.{METRICS[metric].decimals(abs(gain))}f}"
    verb = "bring a gain of" if gain >= 0 else "cost"
    return f"{verb if plural else verb.replace('bring', 'brings').replace('cost', 'costs')} {size}"
