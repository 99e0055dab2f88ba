"""The text about the curve over context rows."""

import numpy as np
import pytest

from tabtune_core.analysis.context_rows import curve_frame, in_words, same_split, score_curve
from tabtune_core.settings import RunSettings, TrainSettings
from tabtune_core.store.predictions import Predictions


def curve(*changes, states=("inference", "peft"), part="test", metric="log_loss", few=256, many=4096):
    """Two states at two sizes; ``changes`` are (gain, half width) of more rows, of training at ``many`` rows, and of
    both.
    """
    gains = dict(zip(("inference more", f"{states[-1]} gain", f"{states[-1]} more"), changes, strict=False))
    rows = []
    for strategy in states:
        for shown in sorted({few, many}):
            told = {"score": 0.3, "score_half_width": 0.1, "first": 0.3}
            for what in ("gain", "more"):
                told[what], told[f"{what}_half_width"] = gains.get(f"{strategy} {what}", (0.0, 0.0))
            point = {
                "strategy": strategy,
                "rank": 8 if strategy == "peft" else None,
                "run": None,
                "context_rows": shown,
            }
            rows.append({**point, "predict_seconds": 1.0, "growth_memory_bytes": 1e6, part: {metric: told}})
    return curve_frame({"rows": rows})


def test_the_effects_of_rows_of_training_and_of_both_are_shown_with_their_intervals():
    assert in_words(curve((0.157, 0.02), (0.004, 0.01), (-0.227, 0.03)), "log_loss") == (
        "Using 4,096 context rows instead of 256 improves log-loss on the test rows by 0.1570 ± 0.0200 nats. Rank 8 "
        "with 4,096 context rows "
        "is not shown to change log-loss on the test rows: between -0.0060 and +0.0140 nats (+ is better). Adding "
        "both worsens log-loss "
        "on the test rows by 0.2270 ± 0.0300 nats."
    )


def test_zero_shot_alone_and_a_small_table_are_mentioned():
    assert "no trained run of this seed" in in_words(curve((0.1, 0.01), states=("inference",)), "log_loss")
    small = in_words(curve((0.0, 0.0), (0.1, 0.02), few=64, many=64), "log_loss")
    assert small.startswith(
        "All 64 training rows are context rows. Rank 8 with 64 context rows improves log-loss on the test rows by "
        "0.1000"
    )


def test_a_curve_has_row_noise_intervals_and_never_shows_a_state_below_zero_shot():
    rng = np.random.default_rng(0)
    y_N, sizes = rng.integers(2, size=400), [64, 64, 64, 128, 128, 128, 200]

    def sure(p):
        return np.where(y_N == 1, p, 1 - p)[:, None] * [[-1, 1]] + [[1, 0]]

    zero = [0.60, 0.64, 0.56, 0.7, 0.72, 0.71, 0.75]
    trained = [0.5, 0.66, 0.55, 0.8, 0.82, 0.81, 0.85]
    first = {"validation": 0, "test": 400}
    held_out = {part: Predictions(np.arange(400) + row, y_N, sure(0.5), ("no", "yes")) for part, row in first.items()}
    states = [[dict.fromkeys(("validation", "test"), sure(p)) for p in state] for state in (zero, trained)]
    base, lora = score_curve(states, sizes, held_out, "log_loss")
    assert [lora[size]["test"]["log_loss"]["score"] for size in (64, 200)] == pytest.approx(
        [-np.mean(np.log([0.60, 0.66, 0.56])), -np.log(0.85)]
    )
    assert base[64]["test"]["log_loss"]["gain"] == 0
    assert lora[64]["test"]["log_loss"]["gain_half_width"] > lora[128]["test"]["log_loss"]["gain_half_width"] > 0, (
        "the draws differ"
    )
    assert lora[200]["test"]["log_loss"]["more"] == pytest.approx(np.mean(np.log(0.85 / np.array(zero[:3]))))


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"test_share": 0.3}, {"model": "tabdpt-mini"}, {"train": TrainSettings(test_rows=50)}]
)
def test_runs_of_another_split_are_not_compared(other):
    usual = RunSettings(dataset="d", target="y")
    assert same_split(
        [usual, RunSettings(dataset="d", target="y", strategy="inference", train=TrainSettings(context_rows=50))]
    )
    assert not same_split([usual, RunSettings(dataset="d", target="y", **other)])
