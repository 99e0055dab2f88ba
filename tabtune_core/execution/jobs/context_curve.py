"""What more rows shown buy, without training: zero-shot and trained states of one split, scored at every number of context rows.

In: runs of one seed. Out: plain values, a row for each state, number of rows and part. Each context is the one of a run whose predictions
are shown so many rows: part of every larger one, with encoders and normalisation of its own.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch

from tabtune_core.analysis.context_rows import WEIGHTS_FILE, same_split, sizes_up_to
from tabtune_core.data.datasets import get_dataset, load_frame
from tabtune_core.data.encoding import count_features
from tabtune_core.data.splits import Split
from tabtune_core.data.task import Context, kinds_of, labels_of, make_context, split_table
from tabtune_core.errors import AdapterError
from tabtune_core.lora.package import read_package
from tabtune_core.lora.package_reader import ADAPTER_FILE
from tabtune_core.metrics import score_all
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import BaseModel, load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.store.job_progress import write_progress
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.training.device import describe_device, memory_bytes, resolve_device
from tabtune_core.training.kernel_warmup import use_once
from tabtune_core.training.memory.meters import MemoryMeter, open_nvml
from tabtune_core.training.memory.prediction_context import with_shown_rows
from tabtune_core.training.scoring import Shown


def context_curve(home: Path, folder: Path, *, runs: Sequence[str]) -> dict[str, Any]:
    """Scores zero-shot and the states that runs returned at 64, 128, ... and all context rows.

    Args:
        home: the workspace.
        folder: is told before every number of rows how much is done.
        runs: ids of runs of one table, model, seed and split; zero-shot is the model of the first one.

    Returns:
        ``rows``: for each state and number ``strategy``, ``rank``, ``run``, ``context_rows``, ``predict_seconds`` (for the test rows; the
        validation rows where there are none), ``growth_memory_bytes`` (peak over the loaded model, None: could not be read), and scores
        ``validation`` and ``test`` by metric; ``device``; ``train_rows``; ``seconds``.

    Raises:
        AdapterError: the runs do not share a split, or a trained state is not there any more.
        CheckpointError: the base's weights cannot be found.
    """
    started, store = time.monotonic(), RunStore(home)
    asked = [store.run(run) for run in runs]
    if not same_split([run.settings for run in asked]):
        raise AdapterError("A curve over the rows shown compares runs of one table, model, seed and split; these differ. Choose others.")
    states = [_zero_shot(asked[0]), *(run for run in asked if run.settings.strategy != "inference")]
    device, table = resolve_device(states[0].settings.device), load_frame(home, states[0].settings.dataset)
    kinds = kinds_of(get_dataset(home, states[0].settings.dataset).columns, states[0].settings)
    contexts = list(_contexts(states[0].settings, table, kinds, device))
    found: list[dict[str, Any]] = []
    for place, state in enumerate(states):
        with MemoryMeter(device, lambda event: None, nvml=open_nvml(device)) as meter:
            with meter.phase("load"):
                model = _open(store, state)
                use_once(model, device=device)
            for done, (split, context) in enumerate(contexts):
                write_progress(folder, place * len(contexts) + done, len(states) * len(contexts), "points of the curve")
                with meter.phase("evaluate"):
                    scores, seconds = _scored(model, state.settings, table, split, context)
                found.append(
                    {
                        "strategy": state.settings.strategy,
                        "run": None if state.settings.strategy == "inference" else state.id,
                        "rank": state.settings.lora.rank if state.settings.strategy == "peft" else None,
                        "context_rows": len(context.y_C),
                        "predict_seconds": seconds,
                        "growth_memory_bytes": meter.growth_bytes["evaluate"],
                        **scores,
                    }
                )
        del model
    return {
        "rows": found,
        "device": describe_device(device),
        "train_rows": len(contexts[0][0].train),
        "seconds": time.monotonic() - started,
    }


def _zero_shot(run: Run) -> Run:
    """The run without what it trained."""
    return replace(run, settings=run.settings.with_strategy("inference"))


def _contexts(
    settings: RunSettings, table: pd.DataFrame, kinds: Mapping[str, str], device: torch.device
) -> Iterator[tuple[Split, Context]]:
    """The split and the context at each number of rows; the last is what predictions are shown unless a person says otherwise."""
    labels = labels_of(table, settings)

    def split(rows: int | None) -> Split:
        return split_table(table, labels, replace(settings, train=replace(settings.train, predict_context_rows=rows)))

    unsaid = replace(settings, train=replace(settings.train, predict_context_rows=None))
    features = count_features(kinds, settings.target)
    most = with_shown_rows(unsaid, features=features, memory_bytes=memory_bytes(device), on_gpu=device.type == "cuda")
    all_rows = min(len(split(None).train), most.train.predict_context_rows or 0)
    for rows in sizes_up_to(all_rows, classes=len({label for label in labels if isinstance(label, str)})):
        of_size = split(rows)
        yield of_size, make_context(table, labels, of_size.context, kinds, settings.target)


def _open(store: RunStore, state: Run) -> BaseModel:
    """The model as a run returned it."""
    settings, folder = state.settings, store.home / "runs" / state.id
    model = load_model(get_card(settings.model), settings.task, resolve_device(settings.device), settings.checkpoint)
    if settings.strategy == "peft":
        package = read_package(folder / ADAPTER_FILE)
        if package.facts["base"]["sha256"] != model.source.sha256:
            raise AdapterError(f"{state.name} was trained on other weights than those in {model.source.file}; name the right checkpoint.")
        adapt(model, settings, package.tensors)
    elif settings.strategy == "base-ft" and (state.result is None or state.result.best_step):
        if not (folder / WEIGHTS_FILE).is_file():
            raise AdapterError(f"The weights that {state.name} trained were not kept, as in earlier versions. Run it again.")
        model.module.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS_FILE))
    model.module.requires_grad_(False).eval()
    return model


def _scored(
    model: BaseModel, settings: RunSettings, table: pd.DataFrame, split: Split, context: Context
) -> tuple[dict[str, dict[str, float]], float]:
    """Scores of the parts that have rows, and the seconds that the predictions of the last one took."""
    shown = Shown.to(model, context, views=settings.train.views)
    labels, scores, seconds = labels_of(table, settings), dict[str, dict[str, float]](), 0.0
    for part, rows in (("validation", split.validation), ("test", split.test)):
        if len(rows):
            held_out = shown.read_labelled(table, labels, rows)
            began = time.monotonic()
            predicted = shown.scorer.predict(model, held_out.x_NF)
            seconds = time.monotonic() - began
            scores[part] = score_all(held_out.y_N, predicted)
    return scores, seconds
