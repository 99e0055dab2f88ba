"""What the curve over rows shown says in words."""

import pytest

from tabtune_core.analysis.context_rows import curve_frame, in_words, part_of, same_split
from tabtune_core.settings import RunSettings, TrainSettings

SHOWN = (64, 256, 4096)


def result(zero, trained=None, strategy="peft", parts=("validation", "test"), metric="log_loss"):
    def rows(strategy, scores):
        return [
            {
                "strategy": strategy,
                "rank": 8 if strategy == "peft" else None,
                "run": None,
                "context_rows": shown,
                "predict_seconds": 1.0,
                "growth_memory_bytes": 1e6,
                **{part: {metric: score} for part in parts},
            }
            for shown, score in zip(SHOWN, scores, strict=False)
        ]

    return {"rows": [*rows("inference", zero), *(rows(strategy, trained) if trained else [])]}


def test_rows_rank_and_both_are_set_side_by_side():
    curve = curve_frame(result((0.5, 0.408, 0.251), (0.4, 0.332, 0.181)))
    assert in_words(curve, "log_loss") == (
        "Using 4,096 context rows instead of 256 brings a gain of 0.1570 in test log-loss, rank 8 brings a gain of 0.0700 at that number, both "
        "bring a gain of 0.2270."
    )


def test_what_is_worse_is_said_to_cost():
    curve = curve_frame(result((0.5, 0.8, 0.7), (0.5, 0.8, 0.9), metric="accuracy"))
    assert in_words(curve, "accuracy") == (
        "Using 4,096 context rows instead of 256 costs 0.1000 in test accuracy, rank 8 brings a gain of 0.2000 at that number, both bring a gain "
        "of 0.1000."
    )


def test_full_fine_tuning_speaks_where_there_is_no_lora_and_validation_where_there_is_no_test():
    curve = curve_frame(result((0.5, 0.4, 0.3), (0.5, 0.4, 0.2), strategy="base-ft", parts=("validation",)))
    assert part_of(curve, "log_loss") == "validation"
    assert "in validation log-loss, full fine-tuning brings a gain of 0.1000 at that number" in in_words(curve, "log_loss")


def test_zero_shot_alone_and_a_small_table_are_said():
    assert "no trained run of this seed" in in_words(curve_frame(result((0.5, 0.4, 0.3))), "log_loss")
    small = curve_frame(result((0.5,), (0.4,)))
    assert in_words(small, "log_loss") == "All 64 context rows are used: rank 8 brings a gain of 0.1000 in test log-loss."


@pytest.mark.parametrize("other", [{"seed": 1}, {"test_share": 0.3}, {"model": "tabdpt-mini"}, {"train": TrainSettings(test_rows=50)}])
def test_runs_of_another_split_are_not_compared(other):
    usual = RunSettings(dataset="d", target="y")
    assert same_split([usual, RunSettings(dataset="d", target="y", strategy="inference", train=TrainSettings(context_rows=50))])
    assert not same_split([usual, RunSettings(dataset="d", target="y", **other)])
