"""The guide's values for a table, and the warnings: where they apply and nowhere else."""

import pytest

from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.settings.advice import PRESETS, WHY, advise, proposed

LARGE = {"model_parameters": 27_000_000, "adapted_weights": 20_000_000, "adapter_parameters": 400_000}


@pytest.mark.parametrize(
    ("parts", "train", "facts"),
    [
        ([], {}, {}),
        (["20,000,000 parameters"], {}, {"adapter_parameters": 20_000_000}),
        (["takes only 11 MB"], {}, {"model_parameters": 677_310}),
        ([], {"ranks": ()}, {"model_parameters": 677_310, "adapted_weights": 0, "adapter_parameters": 0}),
        (["log-loss"], {"class_weights": "balanced"}, {}),
        ([], {"class_weights": "balanced", "selection_metric": "balanced_accuracy"}, {}),
    ],
)
def test_a_warning_appears_where_it_applies_with_its_number(parts, train, facts):
    axes = {name: train[name] for name in ("ranks",) if name in train}
    run = RunSettings(dataset="d", target="t", train=TrainSettings(**{k: v for k, v in train.items() if k not in axes}))
    warnings = list(advise(SweepSettings(run=run, **axes), **LARGE | facts))
    assert len(warnings) == len(parts) and all(part in text for part, text in zip(parts, warnings, strict=True))


@pytest.mark.parametrize(("rows", "rank", "dropout"), [(569, 4, 0.1), (10_001, 8, 0.05), (100_001, 16, 0.02)])
def test_a_table_gets_the_guides_values_for_its_size(rows, rank, dropout):
    assert PRESETS[proposed(rows)] == LoraSettings(rank=rank, alpha=2 * rank, dropout=dropout)
    assert WHY[proposed(rows)].startswith(f"{proposed(rows)} data")
