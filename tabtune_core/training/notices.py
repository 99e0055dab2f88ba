"""Notes of a fit about what differs from what a person may expect."""

import math
from collections import Counter
from collections.abc import Iterator

import pandas as pd

from tabtune_core.data.task import Prepared
from tabtune_core.events import Note, RunFinished, RunPlanned
from tabtune_core.lora.inject import LoraReport
from tabtune_core.metrics import METRICS
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.training.array_cache import LIMIT_BYTES
from tabtune_core.training.loop import TrainResult
from tabtune_core.wording import counted

SAVING_REPORTED = 0.1
"""Fewest seconds computed by earlier runs that are mentioned."""
HARDLY = 0.3
"""A column is named if nine in ten of its scaled values lie within this range; of a normal distribution within 3.3."""
ROWS_SORTED = 1000
"""Values of a column from which that range is computed."""


def beginnings(settings: RunSettings, table: Prepared, report: LoraReport | None, plan: RunPlanned) -> Iterator[Note]:
    """Yields the notes before the work begins."""
    yield from _split(settings, table)
    if unused := table.context.encoder.left_out:
        yield Note(f"Columns that the model does not use (free text or left out by you): {', '.join(unused)}.")
    yield from _hidden(settings, table)
    yield from _shown(settings, plan)
    if settings.strategy != "inference":
        yield from _steps(settings, table, plan)
    if report is not None:
        every, small = counted(len(report.layers), "layer"), len(report.left_out)
        if capped := sum(layer.capped for layer in report.layers):
            yield Note(f"In {capped} of {every} the rank is capped at the layer's own width.")
        if small:
            yield Note(f"Not adapted: {counted(small, 'layer')} whose adapter would be larger than the weight.")


def _hidden(settings: RunSettings, table: Prepared) -> Iterator[Note]:
    """Names number columns whose values the model's own scaling makes almost equal."""
    family, encoder = get_card(settings.model).family, table.context.encoder
    if family.added_to_spread is None:
        return
    first = len(encoder.categories)  # categories are the first features
    numbers = pd.DataFrame(table.context.x_CF[:, first : first + len(encoder.numbers)], columns=encoder.numbers)
    low, high = numbers[:: max(1, len(numbers) // ROWS_SORTED)].quantile([0.05, 0.95]).to_numpy()
    middle, spread = high - low, numbers.std(ddof=0)
    hidden = numbers.columns[(middle > 0) & (middle < HARDLY * (spread + family.added_to_spread))]
    if len(hidden):
        yield Note(
            f"{family.name} hardly sees {', '.join(map(repr, hidden))}: its scaling makes most values almost equal, as "
            "a few lie far from the others or all are tiny. Correct them, take the logarithm, or use a smaller unit.",
            "warning",
        )


def _shown(settings: RunSettings, plan: RunPlanned) -> Iterator[Note]:
    """Says which context rows predictions and evaluations use, if these are not simply all."""
    if plan.context_rows < plan.train_rows:
        rest = "" if settings.strategy == "inference" else "; all of them train"
        shown = f"{plan.context_rows:,} of the {plan.train_rows:,} training rows as context rows"
        yield Note(f"Predictions use {shown}{rest}.")
    if fewer := plan.fewer_evaluation_rows:
        final = f"the final scores use {plan.context_rows:,}"
        yield Note(f"Evaluations during training use {fewer:,} context rows to save time; {final}.")


def _split(settings: RunSettings, table: Prepared) -> Iterator[Note]:
    """Says how the rows were divided by time or by group, and that a time column used for it is also a feature."""
    for finding in table.split.findings:
        yield Note(finding.message, "warning" if finding.severity == "warning" else "info")
    if settings.split_by == "time" and settings.split_column in table.context.encoder.columns:
        yield Note(
            f"{settings.split_column!r} is also a feature, and its later values are outside the range of the training "
            "rows. To predict without it, leave it out under Columns on the Data page."
        )


def _steps(settings: RunSettings, table: Prepared, plan: RunPlanned) -> Iterator[Note]:
    """Says what of a training's steps is not as asked, and how class weights change the smallest class."""
    train = settings.train
    if (warmup_steps := train.warmup_steps_of(plan.steps)) > plan.steps:
        yield Note(f"The warm-up of {warmup_steps} steps is shortened to the run's {plan.steps}.", "warning")
    if plan.query_rows < train.batch_size:
        quarter = f"a quarter of the {plan.train_rows:,} training rows"
        yield Note(f"A step predicts {counted(plan.query_rows, 'row')}, not {train.batch_size:,}: {quarter}.")
    if train.class_weights == "balanced":
        (largest, most), *_, (smallest, few) = Counter(table.labels[table.split.train]).most_common()
        yield Note(
            f"A row of {smallest!r}, the smallest class, counts {most / few:.1f} times as much in the training loss as "
            f"one of {largest!r}, the largest. Probabilities become those of a table with as many rows of each class."
        )


def training_notes(settings: RunSettings, plan: RunPlanned, cut: str | None) -> Iterator[Note]:
    """Yields the notes before training; ``cut`` is the path of the last stage that runs once per input."""
    count = settings.train.episode_set
    if cut:
        limit = f"{LIMIT_BYTES / 1e9:g} GB"
        yield Note(f"All layers up to {cut} are frozen: they are computed once per input and cached (up to {limit}).")
    if count:
        few = f", more than the run's {counted(plan.steps, 'step')}" if count > plan.steps else ""
        yield Note(f"Training cycles through {count} fixed episodes{few}.", "warning" if few else "info")


def endings(
    settings: RunSettings, steps: int, trained: TrainResult, result: RunFinished, evaluated_step: int
) -> Iterator[Note]:
    """Yields the notes after scoring; ``evaluated_step`` is the one that evaluations during training chose."""
    if (saved := result.shared_saved_seconds) >= SAVING_REPORTED:
        whole = f"{saved:,.1f} s of the {result.train_seconds:,.1f} s of training"
        yield Note(f"{whole} were computed by earlier runs and count here.")
    if trained.ended_by == "time limit":
        limit = f"{settings.train.time_limit:g} s{', which one step takes longer than,' * (trained.steps_done == 1)}"
        where = f"step {trained.steps_done} of {steps}; that step was evaluated as the last one"
        yield Note(f"The time limit of {limit} ended training after {where}.")
    if dead := trained.dead_layers:
        yield Note(f"{counted(len(dead), 'adapted layer')} received no gradient: {', '.join(dead[:3])}.", "warning")
    if overflowed := trained.overflowed_steps:
        yield Note(f"{counted(overflowed, 'step')} changed nothing: gradients overflowed fp16 until scaled down.")
    if trained.skipped_rows or trained.skipped_episodes:
        yield Note(
            f"Not trained on: {trained.skipped_rows} of {trained.used_rows + trained.skipped_rows} query rows, whose "
            f"class the context of their episode did not show. {counted(trained.skipped_episodes, 'step')} changed "
            "nothing: no row to predict there had a weight above 0.",
            "warning" if trained.skipped_episodes else "info",
        )
    if trained.outcome == "diverged":
        rate = settings.learning_rate
        yield Note(
            f"The loss was not a finite number at step {trained.steps_done + 1}; the best checkpoint before it is "
            f"kept. Try a learning rate of {rate / 2:g} instead of {rate:g}, or a longer warm-up.",
            "warning",
        )
    if trained.best_step == 0 and settings.strategy != "inference":
        yield Note(_why_kept(settings.selection_metric, trained, evaluated_step), "warning")


def _why_kept(metric: str, result: TrainResult, evaluated_step: int) -> str:
    """Says why a training kept the pretrained weights."""
    if math.isnan(result.best_scores.get(metric, 0.0)):
        return (
            f"Nothing was measured: {METRICS[metric].label} is not defined on these validation rows, so the pretrained "
            "weights are kept. Choose another selection metric, or other split shares."
        )
    if not result.evaluated_step:
        return "Training ended before its first evaluation: nothing was measured, and the pretrained weights are kept."
    if evaluated_step:
        return (
            f"No gain over zero-shot: step {evaluated_step} was better with the context rows of evaluations, but not "
            "with all context rows of predictions, so the pretrained weights are kept."
        )
    return "No improvement over zero-shot: no evaluation beat the pretrained model, so its weights are kept."


def rows_shown(labelled: int, scored: int | None, shown: int) -> Note:
    """Says how many of a pipeline's rows are context rows of its predictions, and of its scores (None: no scores)."""
    of_all = f"all {labelled:,}" if shown == labelled else f"{shown:,} of the {labelled:,}"
    nothing = "No rows were withheld, so no score was measured."
    measured = nothing if scored is None else f"The validation scores were measured with {scored:,} context rows."
    return Note(f"Predictions use {of_all} labelled rows as context rows. {measured}")
