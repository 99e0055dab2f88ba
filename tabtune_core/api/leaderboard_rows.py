"""The rows of a leaderboard of pipelines, one per entry. Finished fits are runs of a workspace, so a stopped
leaderboard can resume.

In: the fits of each entry. Out: one frame, best first; column names contain the units (bytes, seconds, percent).
"""

import dataclasses
import fcntl
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from tabtune_core.analysis.intervals import half_interval, half_width
from tabtune_core.analysis.runs_table import NO_GAIN, best_first
from tabtune_core.data.arrays import read_rows
from tabtune_core.data.values import with_column, words
from tabtune_core.errors import TabTuneError
from tabtune_core.events import Event, PhaseDone, RunFinished
from tabtune_core.metrics import METRICS, metrics_of
from tabtune_core.models.catalogue import get_card, named_checkpoint
from tabtune_core.models.checkpoints import identity_of
from tabtune_core.settings import TRAINED, RunSettings, Strategy
from tabtune_core.store.runs import RunStore
from tabtune_core.upstream import DISTRIBUTION

FORMAT = 4
"""Increases when the same settings give a different fit or score: since 2, all rows are context rows, validation rows
included at the test; since 4, average precision is that of the class that is rarer in the whole table.
"""


@dataclass(frozen=True, slots=True)
class Fit:
    """One entry under one seed."""

    settings: RunSettings
    result: RunFinished | None
    history: Sequence[Event] = ()
    """Events before the result; a fit that was read from the store has only the ends of its phases."""
    error: str = ""
    """Why the result is missing."""

    @property
    def peaks(self) -> Mapping[str, int | None]:
        """Peak bytes by phase, on the meter that ``result`` names."""
        meter = self.result.memory_meter if self.result else ""
        return {told.phase: told.peak_bytes.get(meter) for told in self.history if isinstance(told, PhaseDone)}


def hash_of(*rows: Any) -> str:
    """Returns the SHA-256 of frames, arrays and labels: their content, column names and types."""
    digest = hashlib.sha256()
    for part in rows:
        frame = read_rows(part if np.ndim(part) == 2 else pd.DataFrame({"y": np.asarray(part)}))
        digest.update(repr([(name, str(kind)) for name, kind in frame.dtypes.items()]).encode())
        for name in (name for name in frame.columns if frame[name].dtype.kind == "O"):  # lists have no hash
            frame = with_column(frame, str(name), words(frame[name]))
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def known_by(settings: RunSettings, data_sha256: str) -> RunSettings:
    """Returns the settings under which the store keeps a fit: equal if settings, rows, weights and this package's
    version are equal.
    """
    about = [data_sha256, version(DISTRIBUTION), FORMAT, _named_weights(settings)]
    return dataclasses.replace(settings, dataset=hashlib.sha256(json.dumps(about).encode()).hexdigest())


def _named_weights(settings: RunSettings) -> str | None:
    """Returns the SHA-256 of the named checkpoint or of weights in this package; None for downloads and weights that
    the fit refuses.
    """
    try:
        card = get_card(settings.model)
        if settings.checkpoint is None:
            return card.weights_for(settings.task).sha256
        file = named_checkpoint(card, settings.task, settings.checkpoint)
        return identity_of(file, card.weights_for(settings.task).beside)
    except TabTuneError:
        return None


def kept_fit(store: RunStore, settings: RunSettings) -> Fit | None:
    """Returns the stored fit with these settings, as ``known_by`` made them; None if there is no such fit, or it cannot
    be read.
    """
    run = next((run for run in store.runs() if run.settings == settings and run.result), None)
    if run is None:
        return None
    return Fit(
        settings,
        run.result,
        [told for stored in store.events(run.id, ["PhaseDone"]) if isinstance(told := stored.event, PhaseDone)],
    )


def keep_fit(store: RunStore, name: str, settings: RunSettings, fit: Fit) -> None:
    """Stores a fit that has a result, in the sweep of the fits on the same rows, unless another process has stored it
    meanwhile.
    """
    assert fit.result is not None
    with (store.home / "leaderboard.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept_fit(store, settings) is None:
            sweep = next((run.sweep for run in store.runs() if run.settings.dataset == settings.dataset), "")
            store.add_ended(name, settings, fit.history, fit.result, sweep=sweep)


def seeds_of(settings: RunSettings, repeats: int) -> list[RunSettings]:
    """Returns the settings with their own seed and with the ``repeats - 1`` seeds after it."""
    return [dataclasses.replace(settings, seed=settings.seed + i) for i in range(repeats)]


_PHASES = ("load", "zero-shot", "train", "evaluate")
_WHOLE = ("place", "rank", "trainable_parameters")
PARTS = ("validation", "test")


def rows_of(entries: Mapping[str, Sequence[Fit]], rank_by: str) -> pd.DataFrame:
    """Returns one row per entry.

    Equal scores share a place, fewer trainable parameters first; an entry with a failed seed has no place.
    """
    board = pd.DataFrame([{"place": math.nan, **_row(name, fits, rank_by)} for name, fits in entries.items()])
    score = board[f"validation_{rank_by}"].where(board["status"] != "failed")
    return best_first(board, score, rank_by).astype(dict.fromkeys(_WHOLE, "Int64"))


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
        **{
            f"peak_{phase.replace('-', '_')}_bytes": _mean([fit.peaks.get(phase) for fit in fits if fit.result])
            for phase in _PHASES
        },
        **_means(results, "growth_memory_bytes", "predict_growth_memory_bytes", "run_growth_memory_bytes"),
        "memory_meter": results[0].memory_meter if results else "",
        **_means(
            results,
            "train_seconds",
            "train_wall_seconds",
            "predict_seconds",
            "context_rows",
            "train_context_rows",
            "adapter_bytes",
        ),
        **_scores(settings, results, rank_by),
        "note": "; ".join(_notes(settings.strategy, results)),
        "error": error,
    }


def _notes(strategy: Strategy, results: Sequence[RunFinished]) -> Iterator[str]:
    if results and strategy != "inference" and not any(result.best_step for result in results):
        yield NO_GAIN
    yield from dict.fromkeys(f"ended by its {result.ended_by}" for result in results if result.ended_by)


def _scores(settings: RunSettings, results: Sequence[RunFinished], rank_by: str) -> dict[str, float]:
    """Returns mean and interval of every metric on validation and test rows, and of ``gain``: the gain over zero-shot
    on the validation rows, seed by seed.
    """
    row, task = dict[str, float](), settings.task
    for part in PARTS:
        for metric in metrics_of(task):
            values = _of([getattr(result, part) for result in results], metric)
            row |= _told(f"{part}_{metric}", values)
    row |= {
        f"zero_shot_validation_{metric}": _mean(_of([r.zero_shot_validation for r in results], metric))
        for metric in metrics_of(task)
    }
    after, before = (
        _of([r.validation for r in results], rank_by),
        _of([r.zero_shot_validation for r in results], rank_by),
    )
    gains = [float(METRICS[rank_by].ahead(late, early)) for late, early in zip(after, before, strict=True)]
    return row | _told("gain", gains if settings.strategy in TRAINED else [])


def _told(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: _mean(values), half_width(name): half_interval(values)}


def _of(scores: Sequence[Mapping[str, float]], metric: str) -> list[float]:
    """Returns a metric of each result; NaN where an earlier version wrote the result without it."""
    return [result.get(metric, math.nan) for result in scores]


def _means(results: Sequence[RunFinished], *names: str) -> dict[str, float]:
    return {name: _mean([getattr(result, name) for result in results]) for name in names}


def _mean(values: Sequence[float | None]) -> float:
    """Returns the mean; NaN if there are no values or one is missing."""
    return math.nan if not values or None in values else float(np.mean(np.array(values, dtype=np.float64)))
