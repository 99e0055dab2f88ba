"""What a fit tells in words, beside its numbers: what differs from what a person may expect.

In: settings, the table, what was planned and what came of it. Out: notes.
"""

from collections.abc import Iterator

from tabtune_core.data.prepared import Prepared
from tabtune_core.events import Note, RunPlanned
from tabtune_core.lora.inject import LoraReport
from tabtune_core.settings import RunSettings
from tabtune_core.training.loop import TrainResult
from tabtune_core.training.shared import LIMIT_BYTES, SharedArrays

SAVING_TOLD = 0.1
"""Seconds that were computed before; less is not worth a sentence."""
_LIMIT = f"{LIMIT_BYTES / 1e9:g} GB"


def beginnings(settings: RunSettings, table: Prepared, report: LoraReport | None, plan: RunPlanned) -> Iterator[Note]:
    """What differs from what a person may expect, said before the work begins."""
    if table.context.encoder.left_out:
        yield Note(f"Columns that no model sees, free text or left out by choice: {', '.join(table.context.encoder.left_out)}.")
    if plan.context_rows < plan.train_rows:
        yield Note(f"Predictions are shown {plan.context_rows} of the {plan.train_rows} training rows as context; all of them train.")
    warmup_steps = settings.train.warmup_steps_of(plan.steps)
    if settings.strategy != "inference" and warmup_steps > plan.steps:
        yield Note(
            f"The warm-up of {warmup_steps} steps is longer than the run; it is shortened to all of the {plan.steps} steps.", "warning"
        )
    if settings.strategy != "inference" and plan.query_rows < settings.train.batch_size:
        yield Note(
            f"A step predicts {plan.query_rows} rows, not {settings.train.batch_size}: a quarter of the {plan.train_rows} training rows."
        )
    if report is not None:
        capped = sum(layer.capped for layer in report.layers)
        if capped:
            yield Note(f"In {capped} of {len(report.layers)} layers the rank is capped at the layer's own width.")
        if report.left_out:
            yield Note(
                f"{len(report.left_out)} layers under the targets are not adapted: an adapter there would be larger than the weight."
            )
        if report.biases:
            yield Note(f"{len(report.biases)} biases of the base train beside the adapter, as asked with bias={report.bias!r}.")


def training_notes(settings: RunSettings, plan: RunPlanned, cut: str | None) -> Iterator[Note]:
    """What the steps have in common; ``cut`` is the path of the last part that runs once for each input."""
    count = settings.train.episode_set
    if cut:
        yield Note(f"Nothing up to {cut} trains: it is computed once for each input, and kept (at most {_LIMIT}).")
    if count:
        few = f", more than the run's {plan.steps} steps" if count > plan.steps else ""
        yield Note(f"The steps go through {count} fixed episodes in turn{few}.", "warning" if few else "info")


def endings(settings: RunSettings, steps: int, result: TrainResult, arrays: SharedArrays) -> Iterator[Note]:
    """What turned out otherwise, said when training is over."""
    if arrays.clock.charged_seconds >= SAVING_TOLD:
        yield Note(
            f"{arrays.clock.charged_seconds:,.1f} s of the {arrays.clock.seconds:,.1f} s of training had been computed by earlier runs: "
            "they count as this run's time, though it did not have to spend them."
        )
    if result.ended_by == "time limit":
        one = ", which one step takes longer than," if result.steps_done == 1 else ""
        yield Note(
            f"The time limit of {settings.train.time_limit:g} s{one} ended training after step {result.steps_done} of {steps}; "
            "that step was evaluated as the last one."
        )
    if arrays.refused:
        yield Note(
            f"{arrays.refused} of {arrays.made} results of frozen parts were not kept: their files may take {_LIMIT}, and the disk must "
            "have room. They were computed again at each use."
        )
    if result.dead_layers:
        yield Note(f"{len(result.dead_layers)} adapted layers received no gradient: {', '.join(result.dead_layers[:3])}.", "warning")
    if result.overflowed_steps:
        yield Note(f"{result.overflowed_steps} steps changed nothing: their gradients overflowed fp16, until they were scaled down.")
    if result.skipped_rows:
        yield Note(
            f"{result.skipped_rows} of {result.used_rows + result.skipped_rows} query rows were not trained on: the context of their "
            f"episode did not show their class. {result.skipped_episodes} steps had no other rows and changed nothing.",
            "warning" if result.skipped_episodes else "info",
        )
    if result.outcome == "diverged":
        rate = settings.base_rate
        yield Note(
            f"The loss was no longer a number at step {result.steps_done + 1}; the best state before it is kept. "
            f"Try a learning rate of {rate / 2:g} instead of {rate:g}, or a longer warm-up.",
            "warning",
        )
    if result.best_step == 0:
        yield Note("No gain over zero-shot: no look at the validation rows was better, so the pretrained weights are returned.", "warning")
