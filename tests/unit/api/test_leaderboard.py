"""The leaderboard of pipelines: the same rows for all, failures affect only their own row, nothing runs twice."""

import re

import numpy as np
import pandas as pd
import pytest
from small_table import small_table

from tabtune_core import TabularLeaderboard
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.api.pipeline import TabularPipeline
from tabtune_core.errors import LabelError, SettingError
from tabtune_core.metrics import metrics_of
from tabtune_core.store.runs import RunStore

TRAIN, TEST = small_table(60), small_table(30, seed=1)


def board_of(checkpoint, task="classification", folder=None):
    numbers = [part[0]["noise"].to_numpy() for part in (TRAIN, TEST)]
    y_train, y_test = (TRAIN[1], TEST[1]) if task == "classification" else numbers
    board = TabularLeaderboard(TRAIN[0], TEST[0], y_train, y_test, task=task, folder=folder)
    params = {"device": "cpu", "checkpoint": checkpoint[task]}
    board.add_model(
        "tabicl-v2",
        "peft",
        name="<b>small</b>",
        tuning_params={**params, "steps": 1, "peft_config": {"r": 2, "lora_alpha": 6}},
    )
    board.add_model("tabicl-v2", "inference", tuning_params=params)
    return board


@pytest.fixture(scope="module")
def ran(checkpoint):
    board = board_of(checkpoint)
    params = {"device": "cuda:7", "checkpoint": checkpoint["classification"]}
    board.add_model("tabicl-v2", "peft", name="no such GPU", tuning_params=params)
    return board, board.run(rank_by="accuracy").set_index("name")


def test_rows_carry_settings_costs_and_every_score(ran):
    board, results = ran
    small = results.loc["<b>small</b>"]
    facts = ["strategy", "rank", "alpha", "dropout", "targets", "seed"]
    assert small[facts].tolist() == ["peft", 2, 6, 0.05, "default", 0]
    assert 0 < small["trainable_percent"] < 50
    assert (small[["train_seconds", "predict_seconds", "context_rows", "train_context_rows"]] > 0).all()
    scores = [f"{part}_{metric}" for part in ("validation", "test") for metric in metrics_of("classification")]
    assert results.loc[["<b>small</b>", "tabicl-v2 Zero-shot"], scores].notna().all(axis=None)
    assert not any("rmse" in column or "gain" in column for column in results)
    failed = results.loc["no such GPU"]
    assert "The device 'cuda:7' was requested" in failed["note"]
    assert (failed["status"], pd.isna(failed["place"])) == ("failed", True)
    ranking = board.get_ranking()
    assert ranking["name"].iloc[-1] == "no such GPU"
    assert ranking["validation_accuracy"].dropna().is_monotonic_decreasing


def test_entries_are_ranked_on_the_same_withheld_rows_and_tested_with_all_rows_shown(checkpoint):
    params = {"device": "cpu", "checkpoint": checkpoint["classification"]}
    board = TabularLeaderboard(TRAIN[0], TEST[0], TRAIN[1], TEST[1])
    board.add_model("tabicl-v2", "inference", name="zero-shot", tuning_params=params)
    for strategy in ("peft", "base-ft"):  # a rate at which nothing moves, so that only the rows differ
        board.add_model(
            "tabicl-v2", strategy, name=strategy, tuning_params={**params, "steps": 1, "learning_rate": 1e-12}
        )
    results = board.run(rank_by="log_loss")
    for part in ("validation", "test"):
        assert np.ptp(results[f"{part}_log_loss"]) < 1e-5
    shown_all = TabularPipeline("tabicl-v2", "inference", params).fit(*TRAIN).evaluate(*TEST)
    assert results.set_index("name").loc["zero-shot", "test_log_loss"] == pytest.approx(shown_all["log_loss"])
    assert results["validation_log_loss"].iloc[0] != pytest.approx(shown_all["log_loss"], abs=1e-4)


def test_the_withheld_rows_are_the_leaderboards_own(checkpoint):
    params = {"device": "cpu", "checkpoint": checkpoint["classification"]}
    scores = []
    for share in (0.2, 0.4):
        board = TabularLeaderboard(TRAIN[0], TEST[0], TRAIN[1], TEST[1], validation_share=share)
        board.add_model("tabicl-v2", "inference", name="zero-shot", tuning_params=params)
        scores.append(board.run().iloc[0])
    assert scores[0]["validation_log_loss"] != scores[1]["validation_log_loss"]
    assert scores[0]["test_log_loss"] == scores[1]["test_log_loss"]
    for own in ("validation_share", "validation_rows"):
        with pytest.raises(
            SettingError, match=rf"'{own}' is in the tuning_params of an entry.*TabularLeaderboard\(..., {own}=...\)"
        ):
            board.add_model("tabicl-v2", "peft", tuning_params={**params, own: 0.3})


def test_it_is_written_as_a_page_with_the_trade_off(ran, tmp_path):
    ran[0].to_html(tmp_path / "board.html")
    page = (tmp_path / "board.html").read_text()
    assert "Training time (s)" in page and "&lt;b&gt;small&lt;/b&gt;" in page and "<b>small" not in page
    tags = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<[^>]+\s(?:src|href)\s*=(?!['\"]data:image)", tags)


def test_regression_has_only_regression_metrics_and_the_folder_is_a_workspace_that_ranks_alike(checkpoint, tmp_path):
    board = board_of(checkpoint, "regression", tmp_path)
    results = board.run()
    assert results["validation_rmse"].is_monotonic_increasing
    assert {"test_r2", "test_mae"} <= set(results) and not any("accuracy" in column for column in results)
    stored = leaderboard(RunStore(tmp_path).runs(), "rmse")
    columns = ["name", "place", "status", "rank", "validation_rmse", "test_rmse", "train_seconds"]
    pd.testing.assert_frame_equal(results[columns], stored[columns], check_dtype=False)
    assert stored["sweep"].nunique() == 1


def test_running_again_runs_only_missing_and_failed_entries(checkpoint, monkeypatch):
    fitted, fit = [], TabularPipeline._fit

    def once(self, X, y, settings, **kwargs):
        fitted.append(settings.strategy)
        if len(fitted) < 3:
            raise LabelError("not today")
        return fit(self, X, y, settings, **kwargs)

    board = board_of(checkpoint)
    monkeypatch.setattr(TabularPipeline, "_fit", once)
    assert set(board.run()["note"]) == {"not today"}
    assert set(board.run()["status"]) == {"finished"}
    board.run(rank_by="accuracy")
    assert fitted == ["peft", "inference"] * 2


def test_invalid_arguments_are_refused_at_once():
    board = TabularLeaderboard(TRAIN[0], TEST[0], TRAIN[1], TEST[1])
    with pytest.raises(SettingError, match="Nothing has run yet"):
        board.get_ranking()
    with pytest.raises(SettingError, match=r"Did you mean 'peft_config\.lora_alpha'"):
        board.add_model("tabicl-mini", "peft", tuning_params={"peft_config": {"lora_alfa": 3}})
    board.add_model("tabicl-mini", "inference")
    with pytest.raises(SettingError, match="There is an entry 'tabicl-mini Zero-shot' already"):
        board.add_model("tabicl-mini", "inference")
    with pytest.raises(SettingError, match="cannot rank by 'rmse'; for classification known are"):
        board.run(rank_by="rmse")
