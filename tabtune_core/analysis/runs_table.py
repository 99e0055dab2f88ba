"""The leaderboard: runs in, one frame out, best validation score first. Test scores are reported and never rank.

Units (bytes, seconds, per cent) are in the column names.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from tabtune_core.analysis.intervals import GAINS, half_width
from tabtune_core.analysis.set_apart import reasons_apart, why_ended
from tabtune_core.errors import SettingError
from tabtune_core.events import RunFinished
from tabtune_core.metrics import METRICS, Metric, Task
from tabtune_core.settings import MODELS, REFERENCES, SETTINGS, TRAINED, RunSettings
from tabtune_core.store.run_row import Run
from tabtune_core.wording import few

NO_ADAPTER = "no adapter is offered: it was not verified in a fresh process"
NO_GAIN = "no gain over zero-shot"
NOT_MEASURED = "its score is not defined on the validation rows, so that nothing was measured"
UNTRAINED = "it ended within its first step, so that nothing was measured"
SCIKIT_LEARN = "scikit-learn"
"""Model of the runs that need no foundation model."""
TEXT, WHOLE, NUMBER = "object", "Int64", "float64"
MEASURED = {
    **dict.fromkeys(("steps", "planned_steps", "best_step"), WHOLE),
    "stopped_early": TEXT,
    **dict.fromkeys(("trainable_parameters", "total_parameters"), WHOLE),
    "trainable_percent": NUMBER,
    **dict.fromkeys(("peak_memory_bytes", "growth_memory_bytes", "predict_growth_memory_bytes"), WHOLE),
    "run_growth_memory_bytes": WHOLE,
    **dict.fromkeys(("train_seconds", "train_wall_seconds", "shared_saved_seconds"), NUMBER),
    "ended_by": TEXT,
    "predict_seconds": NUMBER,
    "adapter_bytes": WHOLE,
    "adapter_verified": TEXT,
    **dict.fromkeys(("context_rows", "train_context_rows"), WHOLE),
    "rows_sha256": TEXT,
}
"""Fields of a result besides its scores, and the kind of their columns."""
MEMORY = [name for name in MEASURED if name.endswith("memory_bytes")]
OF_A_DEVICE = [*MEMORY, *(name for name in MEASURED if name.endswith("_seconds"))]
SCORES = tuple(f"{group}_{name}" for group in ("validation", "test", "zero_shot_validation") for name in METRICS)
_KINDS = {
    "place": WHOLE,
    **dict.fromkeys(("run", "sweep", "name", "status", "dataset", "target", "model", "strategy"), TEXT),
    "rank": WHOLE,
    **dict.fromkeys(("alpha", "dropout"), NUMBER),
    **dict.fromkeys(("targets", "variant"), TEXT),
    **dict.fromkeys(("learning_rate", "fixed_rate"), NUMBER),
    "seed": WHOLE,
    "held_out_set": TEXT,
    "device": TEXT,
    "costs_on": TEXT,
    **MEASURED,
    **dict.fromkeys((*SCORES, "gain", "test_gain"), NUMBER),
    **dict.fromkeys(("note", "own_note", "apart", "archived", "resumed"), TEXT),
}
COLUMNS = tuple(_KINDS)


def leaderboard(runs: Sequence[Run], rank_by: str = "log_loss") -> pd.DataFrame:
    """One row per run, best first by the validation score ``rank_by``; equal scores share a place.

    Runs without that score, and runs that are ``apart`` (why is said there), come last and have no place. ``variant``
    also names settings without a column that differ in a sweep. ``gain`` and ``test_gain`` are how much better than
    the run's own zero-shot the scores are; 0 if the pretrained model was kept. ``fixed_rate`` is the learning rate
    unless halving chose it. ``run_growth_memory_bytes`` is the higher peak of training and of prediction. ``costs_on``
    is the device whose memory and seconds a sweep compares; those of runs on another ``device`` are empty.

    Raises:
        SettingError: for a metric that does not exist.
    """
    if rank_by not in METRICS:
        raise SettingError(f"The leaderboard cannot rank by {rank_by!r}; known are {', '.join(METRICS)}.")
    more, why = _differing(runs), reasons_apart(runs)
    rows = [_row(run, more[run.id]) | {"apart": why[run.id], **gains_of(run, METRICS[rank_by])} for run in runs]
    board = pd.DataFrame(rows, columns=list(COLUMNS), dtype=TEXT).astype(_of_kind(NUMBER))
    board["archived"] = board["archived"].astype(bool)
    planned = board[board["device"] != ""].groupby("sweep")
    board["costs_on"] = board["sweep"].map({sweep: _device_of(own) for sweep, own in planned}).fillna("")
    board = board.assign(**board[OF_A_DEVICE].mask(elsewhere(board)))
    compared = board[f"validation_{rank_by}"].where(board["apart"] == "")
    return best_first(board, compared, rank_by).astype(_of_kind(WHOLE))


def best_first(board: pd.DataFrame, score: "pd.Series[float]", rank_by: str) -> pd.DataFrame:
    """Adds ``place``: equal scores share one, the fewest trained parameters first, rows without a score last."""
    place = score.rank(method="min", ascending=not METRICS[rank_by].higher_is_better)
    by = ["place", "trainable_parameters"]
    return board.assign(place=place).sort_values(by, kind="stable", na_position="last", ignore_index=True)


def _of_kind(kind: str) -> dict[str, str]:
    return {name: kind for name, own in _KINDS.items() if own == kind}


def _device_of(sweep: pd.DataFrame) -> str:
    """Returns the device of most trained runs, among equals of the first; before any is planned, that of other runs.

    Runs that are apart decide nothing. Two models of GPU are two devices, also for memory: torch chooses other kernels
    and workspaces on each, and how much that changes was never measured.
    """
    compared = sweep[sweep["apart"] == ""]
    groups = [compared[compared["strategy"].isin(names)] for names in (TRAINED, MODELS)]
    voters = next(group for group in (*groups, compared, sweep) if len(group))
    return str(Counter(voters["device"]).most_common(1)[0][0])


def elsewhere(board: pd.DataFrame) -> "pd.Series[bool]":
    """By run: whether its costs, which are empty, were measured on another device than those of its sweep."""
    return (board["device"] != "") & (board["device"] != board["costs_on"])


def costs_note(board: pd.DataFrame) -> str:
    """Says whose memory and seconds a board of runs has, if some have none because of their device; else empty."""
    away = board[elsewhere(board)]
    if away.empty:
        return ""
    own, others = away["costs_on"].unique(), few(list(away["device"].unique()))
    of = own[0] if len(own) == 1 else "one device a sweep"
    return f"Memory and seconds are those of {of}: runs on {others} have none here. One device for all compares them."


def of_task(board: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The leaderboard without the scores of other tasks and their intervals."""
    others = tuple(f"_{name}" for name, metric in METRICS.items() if metric.task != task)
    scores = {name for score in SCORES if score.endswith(others) for name in (score, half_width(score))}
    return board.drop(columns=[name for name in board if name in scores])


def _differing(runs: Sequence[Run]) -> dict[str, str]:
    """Maps run id to the settings without a column that differ among the runs of its sweep and strategy."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.sweep, run.settings.strategy), []).append(run)
    written: dict[str, str] = {}
    for group in groups.values():
        each = [_others(run.settings) for run in group]
        names = [name for name, value in each[0].items() if any(values[name] != value for values in each[1:])]
        for run, values in zip(group, each, strict=True):
            written[run.id] = ", ".join(f"{name} {values[name]}" for name in names)
    return written


def _others(settings: RunSettings) -> dict[str, Any]:
    """The settings that have no column, are not in ``RunSettings.variant``, and matter to the strategy."""
    rows = (row for row in SETTINGS.values() if not (row.column or row.written))
    return {row.name: settings.value(row.name) for row in rows if settings.strategy in row.strategies}


def _row(run: Run, differing: str) -> dict[str, Any]:
    settings, lora = run.settings, run.settings.lora
    row = {
        "run": run.id,
        **{name: getattr(run, name) for name in ("sweep", "name", "status", "device", "archived", "resumed")},
        **{name: getattr(settings, name) for name in ("dataset", "target", "strategy", "seed")},
        "model": SCIKIT_LEARN if settings.strategy in REFERENCES else settings.model,
        "held_out_set": settings.test_set,
        "variant": ", ".join(part for part in (settings.variant, settings.split, differing) if part) or "plain",
        "note": run.error or (f"{run.ended_as}: {why_ended(run)}" if run.status == "outrun" else ""),
        "own_note": run.note,
        "ended_by": "",
    }
    if settings.strategy in TRAINED:
        row["learning_rate"] = settings.learning_rate
        row["fixed_rate"] = settings.learning_rate if run.rung < 0 else math.nan
    if settings.strategy == "peft":
        row |= {"rank": lora.rank, "alpha": lora.effective_alpha, "dropout": lora.dropout}
        row["targets"] = " ".join(lora.targets) or "default"
    return row | _measured(run, run.result) if run.result else row


def gains_of(run: Run, metric: Metric) -> dict[str, float]:
    """Returns the gains of training over the run's own zero-shot."""
    result = run.result
    if result is None or run.settings.strategy not in TRAINED:
        return {}
    gains = {}
    for name, part in GAINS.items():
        scores, before = getattr(result, part), getattr(result, f"zero_shot_{part}")
        if metric.name in scores and metric.name in before:
            same = 0.0 * before[metric.name] if result.steps_done else math.nan  # NaN without a score or a step
            gains[name] = float(metric.ahead(scores[metric.name], before[metric.name])) if result.best_step else same
    return gains


def _measured(run: Run, result: RunFinished) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(result, name) for name in MEASURED if hasattr(result, name)}
    row["steps"] = result.steps_done
    row["trainable_percent"] = 100 * result.trainable_parameters / max(result.total_parameters, 1)
    groups = {"validation": result.validation, "test": result.test, "zero_shot_validation": result.zero_shot_validation}
    row |= {f"{group}_{name}": score for group, scores in groups.items() for name, score in scores.items()}
    if run.settings.strategy in REFERENCES:
        row |= dict.fromkeys(("steps", "best_step", "stopped_early"))
        row |= dict.fromkeys(("trainable_parameters", "total_parameters", "trainable_percent"))
    if result.best_step == 0 and run.settings.strategy in TRAINED:
        measured = math.isfinite(result.validation.get(run.settings.selection_metric, math.nan))
        row["note"] = UNTRAINED if not result.steps_done else NO_GAIN if measured else NOT_MEASURED
    if result.stopped_early and result.steps_done < result.planned_steps:
        stopped = f"stopped at {result.steps_done:,} of {result.planned_steps:,} steps"
        row["note"] = f"{row['note']}; {stopped}" if row.get("note") else stopped
    elif result.adapter_bytes is not None and not result.adapter_verified and not run.error:
        row["note"] = NO_ADAPTER
    return row
