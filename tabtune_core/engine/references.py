"""Runs of reference models on the same rows, and the check for suspiciously good scores."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch
from numpy.typing import NDArray

from tabtune_core.data.datasets import get_dataset, load_frame
from tabtune_core.data.splits import SplitName, sample_rows, strata_of
from tabtune_core.data.task import Context, Prepared, make_context, prepare
from tabtune_core.data.units import units_of
from tabtune_core.data.values import with_column
from tabtune_core.devices import describe_device
from tabtune_core.engine.artifacts import hash_rows, write_predictions
from tabtune_core.errors import Cancelled
from tabtune_core.events import Evaluated, Event, Note, RunFinished, RunPlanned, StopRequest
from tabtune_core.metrics import score_all
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import PREDICTIONS_FILE
from tabtune_core.training.clock import OwnClock
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.reference_models import Predict, fit_reference, most_rows
from tabtune_core.training.scoring import HeldOut

NEARLY_PERFECT = {"balanced_accuracy": 0.995, "r2": 0.999}
FEWEST_ROWS = 60
"""Fewest test rows for the check; fewer may be right by chance."""
MANY_COPIES = 0.5
"""Share of test rows whose features equal those of a training row from which on these copies are given as the cause."""
MOST_ROWS = 2_000
"""Most rows to predict with each column shuffled, so that it takes seconds."""
NAMED, WORTH = 3, 0.01
"""Most columns that are named, and the least score lost by shuffling each of them."""


def too_good(
    table: Prepared, context: Context, settings: RunSettings, predict: Predict, scores: Mapping[str, float]
) -> str | None:
    """Says what to check if a model predicts the test rows nearly without error: copied rows, or the columns it needs.

    Columns are ranked by the permutation importance (Breiman 2001, section 10) of ``predict``.
    """
    metric = "r2" if settings.task == "regression" else "balanced_accuracy"
    test, rng = table.split.test, np.random.default_rng([settings.seed, 4])
    if len(test) < FEWEST_ROWS or not scores.get(metric, 0.0) >= NEARLY_PERFECT[metric]:
        return None
    seen = [name for name, kind in table.kinds.items() if kind != "ignored" and name != settings.target]
    hash_T = pd.util.hash_pandas_object(table.frame[seen], index=False).to_numpy()
    copied = int(np.isin(hash_T[test], hash_T[table.split.train]).sum())
    if copied >= MANY_COPIES * len(test):
        return (
            f"The test rows are predicted nearly without error: {copied:,} of {len(test):,} are copies of training "
            "rows. Leave copies out (the button on the Data page, --drop-copies on the command line)."
        )
    rows = rng.permutation(test)[:MOST_ROWS]
    frame, y_N = table.frame.iloc[rows], context.labels.transform(list(table.labels[rows]))

    def score(shown: pd.DataFrame) -> float:
        return score_all(y_N, predict(context.encoder.transform(shown)))[metric]

    whole, lost = score(frame), dict[str, float]()
    for name in context.encoder.columns:
        lost[name] = whole - score(with_column(frame, name, rng.permutation(frame[name].to_numpy())))
    most = [name for name in sorted(lost, key=lambda name: -lost[name])[:NAMED] if lost[name] >= WORTH]
    if not most:
        return None
    return (
        "The test rows are predicted nearly without error, which is rare without a leak. Most of it comes from "
        f"{', '.join(map(repr, most))}: leave out columns that are only known after the outcome."
    )


CPU = torch.device("cpu")


def run_reference(
    settings: RunSettings,
    *,
    home: Path,
    run_dir: Path,
    emit: Callable[[Event], None],
    stop_request: Callable[[], StopRequest | None],
) -> RunFinished:
    """Fits the training rows, or as many as take seconds, and scores held-out rows; raises as ``run_experiment``."""
    dataset = get_dataset(home, settings.dataset)
    with MemoryMeter(CPU, emit) as meter:
        with meter.phase("load"):
            table = prepare(load_frame(home, settings.dataset), dataset.columns, settings, max_classes=None)
            context = _context(table, settings, emit)
            x_NF, held_out = _held_out(table, context)
            classes = context.labels.classes
            emit(_planned(table, context))
            if columns := context.encoder.left_out:
                emit(Note(f"Columns that are not used (free text or left out by you): {', '.join(columns)}."))
        with meter.phase("train"):
            clock = OwnClock.of_this_thread()
            shape = {"categories": len(context.encoder.categories), "classes": len(classes)}
            reference = fit_reference(settings.strategy, context.x_CF, context.y_C, seed=settings.seed, **shape)
            train_seconds, wall_seconds = clock.seconds, clock.wall_seconds
            emit(Note(reference.description))
        if stop_request() == "cancel":
            raise Cancelled("The run was cancelled; only its log is kept.")
        with meter.phase("evaluate"):
            predictions, scores = dict[SplitName, NDArray[np.float64]](), dict[SplitName, dict[str, float]]()
            predict_seconds = 0.0
            for name, part in held_out.items():
                clock.start()
                predictions[name] = reference.predict(x_NF[name])
                predict_seconds = clock.seconds  # of the last part: the test rows, if there are any
                scores[name] = part.score(predictions[name])
                emit(Evaluated(0, name, scores[name], name == "validation", train_seconds))
            once = settings.strategy == "boosting"  # in a sweep
            if once and (warning := too_good(table, context, settings, reference.predict, scores.get("test", {}))):
                emit(Note(warning, "warning"))
        with meter.phase("save"):
            units = units_of(table, settings)
            write_predictions(run_dir / PREDICTIONS_FILE, held_out, predictions, classes, units)
    costs = {"train_seconds": train_seconds, "train_wall_seconds": wall_seconds, "predict_seconds": predict_seconds}
    return _finished(scores, meter, **costs, rows_sha256=hash_rows(held_out, classes))


def _finished(scores: Mapping[SplitName, dict[str, float]], meter: MemoryMeter, **more: Any) -> RunFinished:
    """Returns a result without a model."""
    more |= dict.fromkeys(("best_step", "steps_done", "trainable_parameters", "total_parameters"), 0)
    more |= {"validation": scores["validation"], "test": scores.get("test", {})}
    return RunFinished(
        outcome="finished",
        stopped_early=False,
        zero_shot_validation={},
        zero_shot_test={},
        peak_memory_bytes=meter.highest_bytes,
        growth_memory_bytes=meter.growth_bytes["train"],
        predict_growth_memory_bytes=meter.growth_bytes["evaluate"],
        memory_meter=meter.speaks,
        adapter_bytes=None,
        **more,
    )


def _context(table: Prepared, settings: RunSettings, emit: Callable[[Event], None]) -> Context:
    """Encodes the training rows, or as many of them as take seconds."""
    rows, context = table.split.train, table.context
    most = most_rows(context.x_CF.shape[1], len(context.labels.classes))
    if len(rows) > most:
        drawn = f"{most:,} of the {len(rows):,} training rows, drawn at random"
        emit(Note(f"Fitted to {drawn}, so that fitting takes seconds."))
        strata = strata_of(table.labels)[rows].astype(str)
        rows = rows[sample_rows(strata, most, np.random.default_rng([settings.seed, 3]))]
    return make_context(table.frame, table.labels, rows, table.kinds, settings.target)


def _held_out(
    table: Prepared, context: Context
) -> tuple[dict[SplitName, NDArray[np.float64]], dict[SplitName, HeldOut]]:
    """Encodes the validation and test rows, as far as there are any."""
    rows: dict[SplitName, NDArray[np.int64]] = {"validation": table.split.validation, "test": table.split.test}
    x_NF = {name: context.encoder.transform(table.frame.iloc[of]) for name, of in rows.items() if len(of)}
    y_N = {name: context.labels.transform(list(table.labels[rows[name]])) for name in x_NF}
    return x_NF, {name: HeldOut(rows[name], x.astype(np.float32), y_N[name], context.rarer) for name, x in x_NF.items()}


def _planned(table: Prepared, context: Context) -> RunPlanned:
    return RunPlanned(
        device=describe_device(CPU),
        steps=0,
        train_rows=len(context.y_C),
        validation_rows=len(table.split.validation),
        test_rows=len(table.split.test),
        context_rows=0,
        query_rows=0,
        features=context.x_CF.shape[1],
        classes=context.labels.classes,
        total_parameters=0,
        trainable_parameters=0,
        layers=(),
        base={"model": f"scikit-learn {sklearn.__version__}"},
        rarer=context.rarer,
    )
