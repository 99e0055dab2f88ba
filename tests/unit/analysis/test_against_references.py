"""What the references score beside the best LoRA, on cases that can be worked out on paper."""

import pandas as pd

from tabtune_core.analysis.against_references import against_references
from tabtune_core.analysis.comparison import CONFIGURATION

SEEDS = (0, 1)


def board(**scores):
    """By strategy, or rank as ``r2``: a log-loss a seed."""
    rows = []
    for name, values in scores.items():
        strategy, rank = ("peft", int(name[1:])) if name.startswith("r") else (name, None)
        settings = dict.fromkeys(CONFIGURATION) | {"strategy": strategy, "rank": rank}
        rows += [
            settings | {"seed": seed, "validation_log_loss": one, "archived": False, "apart": ""}
            for seed, one in zip(SEEDS, values, strict=False)
        ]
    return pd.DataFrame(rows)


def test_the_mean_over_shared_seeds_is_set_against_the_best_lora():
    found = list(against_references(board(r2=(0.5, 0.3), r4=(0.2, 0.8), boosting=(0.3, 0.3), linear=(0.6,)), "log_loss"))
    assert found == [
        "Linear model, without a foundation model, has a validation log-loss of 0.6000: worse than the best LoRA by 0.1000.",
        "Gradient boosting, without a foundation model, has a validation log-loss of 0.3000, the mean over 2 seeds: better than the best"
        " LoRA by 0.1000.",
    ]


def test_the_best_lora_is_that_of_the_seeds_that_all_of_them_have():
    (found,) = against_references(board(r2=(0.5,), r4=(0.4, 0.8), linear=(0.3, 0.9)), "log_loss")
    assert found.endswith("has a validation log-loss of 0.6000, the mean over 2 seeds: as good as the best LoRA."), "r = 4"


def test_the_same_score_is_said_to_be_the_same():
    (found,) = against_references(board(r2=(0.5,), boosting=(0.5,)), "log_loss")
    assert found.endswith("has a validation log-loss of 0.5000: as good as the best LoRA.")


def test_nothing_is_said_without_a_lora_or_a_reference():
    assert list(against_references(board(inference=(0.5,), boosting=(0.4,)), "log_loss")) == []
    assert list(against_references(board(inference=(0.5,), r2=(0.4,)), "log_loss")) == []
