"""The rows of a leaderboard of pipelines: one an entry, means over its seeds with their intervals.

In: the fits of each entry. Out: one frame, best first; bytes, seconds and per cent are in the column names.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tabtune_core.analysis.intervals import half_interval, half_width
from tabtune_core.analysis.runs_table import NO_GAIN
from tabtune_core.api.leaderboard_fits import Fit
from tabtune_core.events import RunFinished
from tabtune_core.metrics import METRICS, metrics_of
from tabtune_core.settings import TRAINED, RunSettings, Strategy

_PHASES = ("load", "zero-shot", "train", "evaluate")
_WHOLE = ("place", "rank", "trainable_parameters")
PARTS = ("validation", "test")


def rows_of(entries: Mapping[str, Sequence[Fit]], rank_by: str) -> pd.DataFrame:
    """One row an entry; equal scores share a place, the smaller one first. An entry of which a seed failed has no place."""
    rows = [_row(name, fits, rank_by) for name, fits in entries.items()]
    board = pd.DataFrame(rows)
    score = board[f"validation_{rank_by}"].where(board["status"] != "failed")
    board.insert(0, "place", score.rank(method="min", ascending=not METRICS[rank_by].higher_is_better))
    board = board.sort_values(["place", "trainable_parameters"], kind="stable", na_position="last", ignore_index=True)
    return board.astype(dict.fromkeys(_WHOLE, "Int64"))


def _row(name: str, fits: Sequence[Fit], rank_by: str) -> dict[str, Any]:
    settings, results = fits[0].settings, [fit.result for fit in fits if fit.result is not None]
    lora, adapted = settings.lora, settings.strategy == "peft"
    error = next((fit.error for fit in fits if fit.error), "")
    outcomes = {result.outcome for result in results}
    return {
        "name": name,
        "status": "failed" if error else "diverged" if "diverged" in outcomes else "finished",
        "model": settings.model,
        "strategy": settings.strategy,
        "rank": lora.rank if adapted else None,
        "alpha": lora.effective_alpha if adapted else math.nan,
        "dropout": lora.dropout if adapted else math.nan,
        "targets": (" ".join(lora.targets) or "default") if adapted else "",
        "learning_rate": settings.learning_rate or math.nan,
        "seeds": " ".join(str(fit.settings.seed) for fit in fits),
        "validation_context_rows": _mean([r.scored_context_rows for r in results]),
        "test_context_rows": _mean([r.final_context_rows for r in results]),
        "steps": _mean([r.steps_done for r in results]),
        "best_step": _mean([r.best_step for r in results]),
        "trainable_parameters": results[0].trainable_parameters if results else None,
        "trainable_percent": _mean([100 * r.trainable_parameters / r.total_parameters for r in results]),
        **{f"peak_{phase.replace('-', '_')}_bytes": _mean([fit.peaks.get(phase) for fit in fits if fit.result]) for phase in _PHASES},
        **_means(results, "growth_memory_bytes", "predict_growth_memory_bytes", "run_growth_memory_bytes"),
        "memory_meter": results[0].memory_meter if results else "",
        **_means(results, "train_seconds", "train_wall_seconds", "predict_seconds", "context_rows", "train_context_rows", "adapter_bytes"),
        **_scores(settings, results, rank_by),
        "note": "; ".join(_notes(settings.strategy, results)),
        "error": error,
    }


def _notes(strategy: Strategy, results: Sequence[RunFinished]) -> Iterator[str]:
    if results and strategy != "inference" and not any(result.best_step for result in results):
        yield NO_GAIN
    yield from dict.fromkeys(f"ended by its {result.ended_by}" for result in results if result.ended_by)


def _scores(settings: RunSettings, results: Sequence[RunFinished], rank_by: str) -> dict[str, float]:
    """Every metric of the task: mean and interval on the validation and test rows; ``gain`` of training is over zero-shot, seed by seed."""
    row, task = dict[str, float](), settings.task
    for part in PARTS:
        for metric in metrics_of(task):
            values = _of([getattr(result, part) for result in results], metric)
            row |= _told(f"{part}_{metric}", values)
    row |= {f"zero_shot_validation_{metric}": _mean(_of([r.zero_shot_validation for r in results], metric)) for metric in metrics_of(task)}
    after, before = _of([r.validation for r in results], rank_by), _of([r.zero_shot_validation for r in results], rank_by)
    gains = [METRICS[rank_by].sign * (late - early) for late, early in zip(after, before, strict=True)]
    return row | _told("gain", gains if settings.strategy in TRAINED else [])


def _told(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: _mean(values), half_width(name): half_interval(values)}


def _of(scores: Sequence[Mapping[str, float]], metric: str) -> list[float]:
    """A metric of each result; NaN if an earlier version wrote the result without this metric."""
    return [result.get(metric, math.nan) for result in scores]


def _means(results: Sequence[RunFinished], *names: str) -> dict[str, float]:
    return {name: _mean([getattr(result, name) for result in results]) for name in names}


def _mean(values: Sequence[float | None]) -> float:
    """NaN if a value is missing, or there are no values."""
    return math.nan if not values or None in values else float(np.mean(np.array(values, dtype=np.float64)))
