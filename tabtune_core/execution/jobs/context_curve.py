"""The context-row curve: zero-shot and trained states of one split with growing numbers of context rows, untrained.

In: runs of one seed. Out: plain values, one row per state and number of context rows. Each context has its own encoders
and normalisation, and is part of every larger one that was drawn with it; the first of each size is that of a run whose
predictions use so many rows.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from numpy.typing import NDArray

from tabtune_core.analysis.context_rows import same_split, score_curve, sizes_up_to
from tabtune_core.data.datasets import get_dataset, load_frame
from tabtune_core.data.splits import Rows, Split, SplitName, sample_rows, strata_of
from tabtune_core.data.task import Context, Prepared, features_of, kinds_of, labels_of, make_context, split_table
from tabtune_core.data.units import units_of
from tabtune_core.devices import describe_device, is_gpu, memory_bytes, resolve_device
from tabtune_core.engine.adapted_model import open_base
from tabtune_core.errors import AdapterError
from tabtune_core.events import RunPlanned
from tabtune_core.execution.jobs.registry import package_of_run
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import BaseModel
from tabtune_core.settings import RunSettings
from tabtune_core.store.jobs import write_progress
from tabtune_core.store.predictions import Predictions
from tabtune_core.store.run_folder import WEIGHTS_FILE
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.training.memory.meters import MemoryMeter, open_nvml
from tabtune_core.training.memory.prediction_context import with_shown_rows
from tabtune_core.training.scoring import Shown
from tabtune_core.training.session import use_once

Cost = tuple[float, int | None]
"""Seconds of a prediction, and growth of memory in bytes (None: could not be read)."""
DRAWS = 4
"""Sets of context rows of each size, so that the intervals include the chance of the draw."""


def context_curve(home: Path, folder: Path, *, runs: Sequence[str]) -> dict[str, Any]:
    """Scores zero-shot and the states that runs returned with 64, 128, ... and all context rows, several sets of each.

    ``runs`` are ids of runs of one table, model, seed and split; zero-shot is the model of the first one. Writes its
    progress to ``folder`` before every prediction.

    Returns:
        ``rows``: for each state and number of rows ``strategy``, ``rank``, ``run``, ``predict_seconds`` (for the test
        rows; the validation rows if there are no test rows), ``growth_memory_bytes`` (peak over the loaded model, None:
        could not be read), and the results of ``score_curve``; ``device``; ``train_rows``; ``seconds``.

    Raises:
        AdapterError: the runs do not share a split, or a trained state no longer exists.
        CheckpointError: the base's weights cannot be found.
    """
    started, store = time.monotonic(), RunStore(home, existing=True)
    asked = [store.run(run) for run in runs]
    if not same_split([run.settings for run in asked]):
        needs = "A curve over the context rows compares runs of one table, model, seed and split"
        raise AdapterError(f"{needs}; these differ. Choose others.")
    zero_shot = replace(asked[0], settings=asked[0].settings.with_strategy("inference"))
    states = [zero_shot, *(run for run in asked if run.settings.strategy != "inference")]
    settings = states[0].settings
    device, table = resolve_device(settings.device), load_frame(home, settings.dataset)
    columns = get_dataset(home, settings.dataset).columns
    labels, kinds = labels_of(table, settings), kinds_of(columns, settings)
    split, drawn = _drawn_contexts(settings, table, labels, features_of(columns, settings), device)
    contexts = [make_context(table, labels, rows, kinds, settings.target) for rows in drawn]
    parts: tuple[tuple[SplitName, Rows], ...] = (("validation", split.validation), ("test", split.test))
    held_out = {part: rows for part, rows in parts if len(rows)}
    frames = {part: table.iloc[rows] for part, rows in held_out.items()}
    predicted, costs = _predicted(store, folder, states, contexts, device, frames)
    sizes = [len(rows) for rows in drawn]
    units_T, names = units_of(Prepared(table, labels, split, contexts[0], kinds), settings), contexts[0].labels
    targets = {
        part: Predictions(
            rows,
            names.transform(list(labels[rows])),
            predicted[0][0][part],
            names.classes,
            units_N=units_T[rows],
            split_by=settings.split_by,
            rarer=contexts[0].rarer,
        )
        for part, rows in held_out.items()
    }
    curves = score_curve(predicted, sizes, targets, settings.selection_metric)
    return {
        "rows": [
            point
            for state, cost, curve in zip(states, costs, curves, strict=True)
            for point in _points(state, list(zip(cost, sizes, strict=True)), curve)
        ],
        "device": describe_device(device),
        "train_rows": len(split.train),
        "seconds": time.monotonic() - started,
    }


def _predicted(
    store: RunStore,
    folder: Path,
    states: Sequence[Run],
    contexts: Sequence[Context],
    device: torch.device,
    held_out: Mapping[SplitName, pd.DataFrame],
) -> tuple[list[list[dict[SplitName, NDArray[np.float64]]]], list[list[Cost]]]:
    """Returns the predictions of the held-out rows and their cost, by state and context."""
    predicted: list[list[dict[SplitName, NDArray[np.float64]]]] = [[] for _ in states]
    costs: list[list[Cost]] = [[] for _ in states]
    for place, state in enumerate(states):
        with MemoryMeter(device, lambda event: None, nvml=open_nvml(device)) as meter:
            with meter.phase("load"):
                model = _open(store, state)
                use_once(model, device=device)
            for done, context in enumerate(contexts):
                whole = len(states) * len(contexts)
                write_progress(folder, place * len(contexts) + done, whole, "predictions of the curve")
                with meter.phase("evaluate"):
                    shown, seconds = Shown.to(model, context, views=state.settings.train.views), 0.0
                    of_parts = dict[SplitName, NDArray[np.float64]]()
                    for part, rows in held_out.items():
                        x_NF = shown.read(rows)
                        began = time.monotonic()
                        of_parts[part] = shown.scorer.predict(model, x_NF)
                        seconds = time.monotonic() - began
                predicted[place].append(of_parts)
                costs[place].append((seconds, meter.growth_bytes["evaluate"]))
        del model
    return predicted, costs


def _points(
    state: Run, costs: Sequence[tuple[Cost, int]], curve: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the curve of one state as rows; ``costs`` are those of each context, with its size."""
    points = []
    for size, scores in curve.items():
        of_size = [cost for cost, rows in costs if rows == size]
        points.append(
            {
                "strategy": state.settings.strategy,
                "run": None if state.settings.strategy == "inference" else state.id,
                "rank": state.settings.lora.rank if state.settings.strategy == "peft" else None,
                "context_rows": size,
                "predict_seconds": median(seconds for seconds, _ in of_size),
                "growth_memory_bytes": max((grown for _, grown in of_size if grown is not None), default=None),
                **scores,
            }
        )
    return points


def _drawn_contexts(
    settings: RunSettings, table: pd.DataFrame, labels: NDArray[np.object_], features: int, device: torch.device
) -> tuple[Split, list[Rows]]:
    """Returns the split, and context rows of each size: first those of a run with this size, then DRAWS - 1 other sets.

    The largest size is the default of predictions; of every training row there is only one set.
    """

    def split(rows: int | None) -> Split:
        return split_table(table, labels, settings.changed(predict_context_rows=rows))

    unsaid = settings.changed(predict_context_rows=None)
    whole = split(None)
    most = with_shown_rows(unsaid, features=features, memory_bytes=memory_bytes(device), on_gpu=is_gpu(device))
    all_rows = min(len(whole.train), most.train.predict_context_rows or 0)
    strata_N, drawn = strata_of(labels)[whole.train].astype(str), list[Rows]()
    for size in sizes_up_to(all_rows, classes=len({label for label in labels if isinstance(label, str)})):
        drawn.append(split(size).context)
        draws = range(1, DRAWS if size < len(whole.train) else 1)
        others = (np.random.default_rng([settings.seed, 2, draw]) for draw in draws)
        drawn += [whole.train[sample_rows(strata_N, size, rng)] for rng in others]
    return whole, drawn


def _open(store: RunStore, state: Run) -> BaseModel:
    """Opens the model as a run returned it."""
    settings, folder = state.settings, store.home / "runs" / state.id
    planned = store.last_event(state.id, RunPlanned)
    assert planned is not None
    model = open_base(
        settings.model,
        settings.task,
        str(planned.base["sha256"]),
        checkpoint=settings.checkpoint,
        device=settings.device,
    )
    if settings.strategy == "peft":
        adapt(model, settings, package_of_run(store, state).tensors)
    elif settings.strategy == "base-ft" and (state.result is None or state.result.best_step):
        if not (folder / WEIGHTS_FILE).is_file():
            raise AdapterError(f"The trained weights of {state.name} are not in its folder any more. Run it again.")
        model.module.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS_FILE))
    return model
