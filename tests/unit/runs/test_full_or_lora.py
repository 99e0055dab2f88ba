"""Full fine-tuning against LoRA: means, paired errors and winners, on numbers that can be worked out on paper."""

import math

import pandas as pd
import pytest

from tabtune_core.events import RunFinished
from tabtune_core.runs.full_or_lora import FULL, LORA, TIE, UNKNOWN, full_or_lora
from tabtune_core.runs.ranking import leaderboard
from tabtune_core.runs.recommend import recommend
from tabtune_core.runs.store import RunStore
from tabtune_core.settings import LoraSettings, RunSettings


def compared(home, scores, *, memory=(), seconds=(), metric="accuracy", meter="resident"):
    """``scores`` by strategy or rank, one a seed, on validation; test is 0.1 lower. ``memory`` and ``seconds`` are of full and LoRA."""
    store = RunStore(home)
    settings = [
        (RunSettings(dataset="d", target="y", seed=seed, **({"lora": LoraSettings(rank=what)} if isinstance(what, int) else {"strategy": what})), score)
        for what, of in scores.items() for seed, score in enumerate(of)
    ]  # fmt: skip
    sweep, ids = store.add_sweep([one for one, _ in settings])
    for run_id, (one, score) in zip(ids, settings, strict=True):
        full = one.strategy == "base-ft"
        result = RunFinished(
            "finished", 5, 10, False, {metric: score}, {metric: score - 0.1}, {metric: 0.5}, {}, (seconds or (10.0, 10.0))[not full], 0.1, 10**9,
            (memory or (200, 100))[not full] * 10**6, meter if full else "resident", 1000 if full else 20, 1000, 500 if one.strategy == "peft" else None,
        )  # fmt: skip
        store.finish(run_id, "finished", result=result)
    board = leaderboard(store.runs(sweep), metric)
    return full_or_lora(board, recommend(store, board, metric).configurations, metric).set_index("column")


def test_a_score_wins_only_beyond_one_standard_error_of_the_paired_differences(tmp_path):
    found = compared(tmp_path, {"inference": (0.5, 0.5), "base-ft": (0.80, 0.70), 2: (0.77, 0.71), 8: (0.79, 0.71)})
    row = found.loc["validation_accuracy"]
    # LoRA r=8 against full: -0.01 and +0.01
    assert row[["zero_shot", "full", "lora", "small_lora"]].tolist() == pytest.approx([0.5, 0.75, 0.75, 0.74])
    assert (row["difference"], row["difference_error"]) == pytest.approx((0.0, 0.01))
    assert row["winner"] == found.loc["test_accuracy", "winner"] == TIE
    assert (row["lora_name"], row["small_lora_name"]) == ("r=8", "r=2")


@pytest.mark.parametrize(("metric", "winner"), [("accuracy", FULL), ("log_loss", LORA)])
def test_the_winner_is_the_one_on_the_better_side(tmp_path, metric, winner):
    found = compared(tmp_path, {"base-ft": (0.9, 0.8), 2: (0.7, 0.6)}, metric=metric)
    assert found.loc[[f"validation_{metric}", f"test_{metric}"], "winner"].tolist() == [winner, winner]


def test_one_seed_without_predictions_knows_no_winner_of_scores(tmp_path):
    found = compared(tmp_path, {"base-ft": (0.9,), 2: (0.7,)})
    assert found.loc["validation_accuracy", "winner"] == UNKNOWN
    assert math.isnan(found.loc["validation_accuracy", "difference_error"])


def test_memory_of_different_meters_is_not_compared(tmp_path):
    found = compared(tmp_path, {"base-ft": (0.9,), 2: (0.7,)}, meter="torch_allocated")
    assert found.loc["growth_memory_bytes", ["full", "lora", "ratio"]].isna().all()
    assert found.loc["growth_memory_bytes", "winner"] == ""


def test_costs_are_ratios_and_the_nearly_same_is_a_tie(tmp_path):
    found = compared(tmp_path, {"inference": (0.5,), "base-ft": (0.9,), 2: (0.7,)}, memory=(200, 100), seconds=(10.0, 10.3))
    assert found.loc["growth_memory_bytes", ["ratio", "winner"]].tolist() == [2.0, LORA]
    assert found.loc[["train_seconds", "step_seconds"], "winner"].tolist() == [TIE, TIE]
    assert found.loc["step_seconds", ["full", "lora"]].tolist() == pytest.approx([1.0, 1.03])
    # 4 bytes for each of 1000 weights against a package of 500 bytes
    assert found.loc["stored_bytes", ["full", "lora", "ratio", "winner"]].tolist() == [4000, 500, 8.0, LORA]
    assert found.loc["trainable_percent", ["full", "lora"]].tolist() == [100, 2]
    assert found.loc[["growth_memory_bytes", "train_seconds", "stored_bytes"], "zero_shot"].isna().all()


def test_what_was_not_run_has_neither_number_nor_winner(tmp_path):
    found = compared(tmp_path, {"inference": (0.5, 0.5), 2: (0.7, 0.7)})
    assert found["full"].isna().all()
    assert set(found["winner"]) == {""}
    assert found.loc["validation_accuracy", "lora"] == pytest.approx(0.7)


def test_a_sweep_without_results_has_a_table_without_numbers(tmp_path):
    store = RunStore(tmp_path)
    store.add_sweep([RunSettings(dataset="d", target="y")])
    board = leaderboard(store.runs(), "accuracy")
    found = full_or_lora(board, recommend(store, board, "accuracy").configurations, "accuracy")
    assert found[["zero_shot", "full", "lora", "difference"]].isna().all(axis=None)
    assert isinstance(found, pd.DataFrame)
    assert len(found) == 7
