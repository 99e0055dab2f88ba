"""Full fine-tuning against LoRA: means, paired errors and winners, on numbers that can be worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

from dashboard.components.full_vs_lora_table import words
from tabtune_core.analysis.full_vs_lora import FULL, LORA, TIE, UNKNOWN, full_or_lora
from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.events import RunFinished, RunPlanned
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.store.run_folder import PREDICTIONS_FILE
from tabtune_core.store.runs import RunStore


def compared(home, scores, *, right=None, memory=(), seconds=(), metric="accuracy", meter="resident"):
    """``scores`` are validation scores by strategy or rank, one per seed; test is 0.1 lower. ``memory`` and ``seconds``
    are full and LoRA.

    ``right`` is the number of correctly predicted rows, of 40 in each part, by strategy or rank.
    """
    store = RunStore(home)
    settings = [
        (
            RunSettings(
                dataset="d",
                target="y",
                seed=seed,
                **({"lora": LoraSettings(rank=what)} if isinstance(what, int) else {"strategy": what}),
            ),
            score,
        )
        for what, of in scores.items()
        for seed, score in enumerate(of)
    ]
    sweep, ids = store.add_sweep([one for one, _ in settings])
    for run_id, (one, score) in zip(ids, settings, strict=True):
        full = one.strategy == "base-ft"
        scored = {metric: score}, {metric: score - 0.1}, {metric: 0.5}, {}
        times = (seconds or (10.0, 10.0))[not full], 0.1
        peaks = 10**9, (memory or (200, 100))[not full] * 10**6, meter if full else "resident"
        sizes = 1000 if full else 20, 1000, 500 if one.strategy == "peft" else None
        result = RunFinished("finished", 5, 10, False, *scored, *times, *peaks, *sizes)
        store.finish(run_id, "finished", result=result)
        if right:
            store.append(run_id, RunPlanned("cpu", 10, 120, 40, 40, 120, 15, 2, ("no", "yes"), 1000, 20, (), {}))
            p_N = np.where(np.arange(40) < right[one.lora.rank if one.strategy == "peft" else one.strategy], 0.9, 0.2)
            frame = pd.DataFrame({"row": range(40), "label": "yes", "prob_0": 1 - p_N, "prob_1": p_N})
            store.run_dir(run_id).mkdir(parents=True)
            parts = [frame.assign(split=part) for part in ("validation", "test")]
            pd.concat(parts).to_parquet(store.run_dir(run_id) / PREDICTIONS_FILE)
    board = leaderboard(store.runs(sweep), metric)
    return full_or_lora(board, recommend(store, board, metric).configurations, metric).set_index("column")


def test_a_score_wins_only_beyond_the_interval_of_the_paired_differences(tmp_path):
    scores = {"inference": (0.5,), "base-ft": (0.80,), 2: (0.73,), 8: (0.75,)}
    found = compared(tmp_path, scores, right={"inference": 20, "base-ft": 32, 2: 29, 8: 30})
    row = found.loc["validation_accuracy"]
    assert row[["zero_shot", "full", "lora", "small_lora"]].tolist() == pytest.approx([0.5, 0.8, 0.75, 0.73])
    # two rows of 40 are right only with full fine-tuning: Student's t with half a row more in each direction
    half = stdtrit(39, 0.975) * math.sqrt((38 * 0.05**2 + 2 * 0.95**2) / (40 * 39) + 0.95**2 / 39**2)
    assert (row["difference"], row["difference_half_width"]) == pytest.approx((-0.05, half))
    assert row["winner"] == found.loc["test_accuracy", "winner"] == TIE
    assert (row["lora_name"], row["small_lora_name"]) == ("r=8", "r=2")


@pytest.mark.parametrize(("metric", "winner"), [("accuracy", FULL), ("log_loss", LORA)])
def test_the_winner_is_on_the_better_side_of_the_metric(tmp_path, metric, winner):
    scores = {"base-ft": (0.9,), 2: (0.45,)}
    found = compared(
        tmp_path,
        scores,
        right={"base-ft": 36, 2: 18} if metric == "accuracy" else {"base-ft": 18, 2: 36},
        metric=metric,
    )
    assert found.loc[[f"validation_{metric}", f"test_{metric}"], "winner"].tolist() == [winner, winner]


def test_a_sweep_without_predictions_names_no_score_winner(tmp_path):
    found = compared(tmp_path, {"base-ft": (0.9,), 2: (0.7,)})
    assert found.loc["validation_accuracy", "winner"] == UNKNOWN
    assert math.isnan(found.loc["validation_accuracy", "difference_half_width"])


def test_memory_and_seconds_of_a_gpu_and_a_cpu_are_not_compared(tmp_path):
    found = compared(tmp_path, {"base-ft": (0.9,), 2: (0.7,)}, meter="torch_allocated")
    for cost in ("growth_memory_bytes", "train_seconds", "step_seconds"):
        assert found.loc[cost, ["full", "lora", "ratio"]].isna().all()
        assert found.loc[cost, "winner"] == ""


def test_costs_are_ratios_and_nearly_equal_costs_tie(tmp_path):
    found = compared(
        tmp_path, {"inference": (0.5,), "base-ft": (0.9,), 2: (0.7,)}, memory=(200, 100), seconds=(10.0, 10.3)
    )
    assert found.loc["growth_memory_bytes", ["ratio", "winner"]].tolist() == [2.0, LORA]
    assert found.loc[["train_seconds", "step_seconds"], "winner"].tolist() == [TIE, TIE]
    assert found.loc["step_seconds", ["full", "lora"]].tolist() == pytest.approx([1.0, 1.03])
    # 4 bytes for each of 1000 weights, against a package of 500 bytes
    assert found.loc["stored_bytes", ["full", "lora", "ratio", "winner"]].tolist() == [4000, 500, 8.0, LORA]
    assert found.loc["trainable_percent", ["full", "lora"]].tolist() == [100, 2]
    assert found.loc[["growth_memory_bytes", "train_seconds", "stored_bytes"], "zero_shot"].isna().all()


def test_a_cost_that_is_zero_on_one_side_has_no_ratio(tmp_path):
    found = compared(tmp_path, {"base-ft": (0.9,), 2: (0.7,)}, memory=(0, 100)).reset_index()
    shown = words(found, "accuracy").set_index("Aspect").loc["Training memory over the model"]
    assert shown[["Full fine-tuning", "Best LoRA against full", "Better"]].tolist() == ["0.0 kB", "N/A", FULL]


def test_a_strategy_that_did_not_run_has_neither_number_nor_winner(tmp_path):
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
