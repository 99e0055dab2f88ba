"""The guide as data: its quick reference (section 15), its rank rule (4.1), and its warnings (4, 6, 13), shown before a
sweep starts.

In: a sweep and a few counts. Out: the warnings that apply, each with what to do. Nothing here forbids anything.
"""

from collections.abc import Iterator, Mapping

from tabtune_core.metrics import METRICS
from tabtune_core.settings import LoraSettings, Strategy, SweepSettings

SMALL_TABLE_ROWS = 10_000
MEDIUM_TABLE_ROWS = 100_000
"""The guide's limits between small, medium and large tables."""


PRESETS = {
    "small": LoraSettings(rank=4, alpha=8, dropout=0.1),
    "medium": LoraSettings(rank=8, alpha=16, dropout=0.05),
    "large": LoraSettings(rank=16, alpha=32, dropout=0.02),
}
"""The quick reference by the size of the table."""
WHY = {
    "small": f"small data, up to {SMALL_TABLE_ROWS:,} rows. Few rows suit a low rank, and dropout keeps the adapter "
    "from memorizing them.",
    "medium": f"medium data, up to {MEDIUM_TABLE_ROWS:,} rows. These are enough rows for rank 8, with a little "
    "dropout.",
    "large": f"large data, beyond {MEDIUM_TABLE_ROWS:,} rows. Use a higher rank, a lower learning rate and almost no "
    "dropout.",
}
"""Reason for each preset that ``proposed`` may return."""


def proposed(rows: int) -> str:
    """Returns the key of the preset for a table of ``rows`` rows.

    >>> [PRESETS[proposed(n)].rank for n in (500, 10_000, 100_000, 1_000_000)]
    [4, 4, 8, 16]
    """
    return "small" if rows <= SMALL_TABLE_ROWS else "medium" if rows <= MEDIUM_TABLE_ROWS else "large"


USUAL_RATIO = 2.0
"""The guide's section 13: LoRA needs at least twice the learning rate of full fine-tuning; its section 6.2 uses ten
times that rate.
"""
SMALL_MODEL_PARAMETERS = 5_000_000
"""Below this, weights, gradients and Adam's two moments take less than 80 MB even when all of them train."""
BYTES_TRAINED = 16
"""A weight, its gradient and Adam's two moments, four bytes each."""


def advise(
    sweep: SweepSettings,
    *,
    usual_rates: Mapping[Strategy, float],
    rows: int,
    model_parameters: int,
    adapted_weights: int,
    adapter_parameters: int,
) -> Iterator[str]:
    """Yields the warnings that apply, in the order of the form, each with what to do.

    Args:
        sweep: what would start.
        usual_rates: peak learning rates that are used where none is set.
        rows: of the table.
        model_parameters: of the whole model.
        adapted_weights: parameters of the weights that get an adapter.
        adapter_parameters: parameters of the adapter at the highest rank.
    """
    run, train, ranks = sweep.run, sweep.run.train, sweep.ranks
    rates = sweep.learning_rates or (train.learning_rate or usual_rates["peft"],)
    full_rates = (sweep.full_learning_rates or (usual_rates["base-ft"],)) if sweep.full_fine_tuning else ()
    if min(ranks, default=2) < 2:
        yield (
            "Rank 1 can shift each layer along one direction only. Keep rank 1 to see whether it is enough; "
            "otherwise start at 2."
        )
    if ranks and rows <= SMALL_TABLE_ROWS and min(sweep.dropouts or (run.lora.dropout,)) == 0:
        told = f"{rows:,} rows without dropout: the adapter may memorize the training rows."
        yield f"{told} Use 0.1 to 0.2 on a table this small, or compare both."
    if ranks and full_rates and min(rates) < USUAL_RATIO * max(full_rates):
        told = f"LoRA has the learning rate {min(rates):g} and full fine-tuning {max(full_rates):g}"
        yield (
            f"{told}: similar rates make LoRA look weaker than it is. Give LoRA two to ten times the learning rate "
            "of full fine-tuning."
        )
    if 0 < adapted_weights <= adapter_parameters:
        told = f"At rank {max(ranks)} the adapter has {adapter_parameters:,} parameters"
        yield f"{told} and the weights that it adapts have {adapted_weights:,}: it saves nothing. Choose a lower rank."
    if ranks and model_parameters < SMALL_MODEL_PARAMETERS:
        takes = (
            f"{model_parameters * BYTES_TRAINED / 1e6:.0f} MB beside the activations, so LoRA can save little memory"
        )
        told = f"The model has {model_parameters / 1e6:.1f} M parameters: training all of them takes only {takes}."
        yield f"{told} Use it to compare settings; to save memory, choose a larger model or adapt only late layers."
    if not (train.warmup_ratio if train.warmup_steps is None else train.warmup_steps):
        yield (
            "No warm-up: the first steps use the full learning rate and may damage the model. Warm up over a tenth "
            "of the steps."
        )
    if train.clip_norm == 0:
        yield "No gradient clipping: one bad episode may undo the training. Clip at 1."
    if train.class_weights == "balanced" and run.selection_metric in ("log_loss", "brier"):
        yield (
            f"Class weights change the probabilities, so {METRICS[run.selection_metric].written} on the validation "
            "rows may get worse; the pretrained weights are then returned. Choose balanced accuracy or average "
            "precision as the selection metric (More settings, Best checkpoint)."
        )
