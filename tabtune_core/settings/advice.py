"""The guide's values for a table of some size (its section 15), and what to know before a sweep starts.

In: a sweep and a few counts. Out: the warnings that apply, each with what to do. Nothing here forbids anything.
"""

from collections.abc import Iterator

from tabtune_core.metrics import METRICS
from tabtune_core.settings import LoraSettings, SweepSettings

SMALL_TABLE_ROWS, MEDIUM_TABLE_ROWS = 10_000, 100_000
"""The guide's limits between small, medium and large tables."""
PRESETS = {
    "small": LoraSettings(rank=4, alpha=8, dropout=0.1),
    "medium": LoraSettings(rank=8, alpha=16, dropout=0.05),
    "large": LoraSettings(rank=16, alpha=32, dropout=0.02),
}
"""The guide's quick reference by the size of the table."""
WHY = {
    "small": f"small data, up to {SMALL_TABLE_ROWS:,} rows: the guide's values, which were not measured here.",
    "medium": f"medium data, up to {MEDIUM_TABLE_ROWS:,} rows: the guide's values, which were not measured here.",
    "large": f"large data, beyond {MEDIUM_TABLE_ROWS:,} rows: the guide's values, which were not measured here.",
}
"""Where each preset comes from."""
SMALL_MODEL_PARAMETERS = 5_000_000
"""Below this, weights, gradients and Adam's two moments take less than 80 MB even when all of them train."""
BYTES_TRAINED = 16
"""A weight, its gradient and Adam's two moments, four bytes each."""


def proposed(rows: int) -> str:
    """Returns the key of the preset for a table of ``rows`` rows.

    >>> [PRESETS[proposed(n)].rank for n in (500, 10_000, 100_000, 1_000_000)]
    [4, 4, 8, 16]
    """
    return "small" if rows <= SMALL_TABLE_ROWS else "medium" if rows <= MEDIUM_TABLE_ROWS else "large"


def advise(
    sweep: SweepSettings, *, model_parameters: int, adapted_weights: int, adapter_parameters: int
) -> Iterator[str]:
    """Yields the warnings that apply, each with what to do.

    Args:
        sweep: what would start.
        model_parameters: of the whole model.
        adapted_weights: parameters of the weights that get an adapter.
        adapter_parameters: parameters of the adapter at the highest rank.
    """
    run, ranks = sweep.run, sweep.ranks
    if 0 < adapted_weights <= adapter_parameters:
        adapter = f"At rank {max(ranks)} the adapter has {adapter_parameters:,} parameters"
        yield f"{adapter} and the weights that it adapts have {adapted_weights:,}: choose a lower rank to save memory."
    if ranks and model_parameters < SMALL_MODEL_PARAMETERS:
        size = f"The model has {model_parameters / 1e6:.1f} M parameters"
        megabytes = f"{model_parameters * BYTES_TRAINED / 1e6:.0f} MB"
        takes = f"training all of them takes only {megabytes} beside the activations"
        yield f"{size}: {takes}, so LoRA can save little memory. To save more, choose a larger model or late layers."
    if run.train.class_weights == "balanced" and run.selection_metric in ("log_loss", "brier"):
        metric = METRICS[run.selection_metric].written
        worse = f"Class weights change the probabilities, so {metric} on the validation rows may get worse"
        other = "Choose balanced accuracy as the selection metric (More settings, Best checkpoint)."
        yield f"{worse}; the pretrained weights are then returned. {other}"
