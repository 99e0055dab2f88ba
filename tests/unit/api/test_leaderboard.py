"""The leaderboard of pipelines: the same rows for all, failures affect only their own row, nothing runs twice, and what
it writes.
"""

import errno
import json
import os
import re
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from small_table import small_table

from tabtune_core import TabularLeaderboard
from tabtune_core.analysis.intervals import half_interval
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.api.pipeline import TabularPipeline
from tabtune_core.errors import LabelError, SettingError
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


@pytest.fixture
def fitted(monkeypatch):
    """Seeds of the fitted pipelines."""
    seeds, fit = [], TabularPipeline._fit

    def counting(self, X, y, settings, **kwargs):
        seeds.append(settings.seed)
        return fit(self, X, y, settings, **kwargs)

    monkeypatch.setattr(TabularPipeline, "_fit", counting)
    return seeds


@pytest.fixture(scope="module")
def ran(checkpoint):
    board = board_of(checkpoint)
    board.add_model(
        "tabicl-v2",
        "peft",
        name="no such GPU",
        tuning_params={"device": "cuda:7", "checkpoint": checkpoint["classification"]},
    )
    return board, board.run(rank_by="accuracy", repeats=2).set_index("name")


def test_rows_carry_settings_costs_and_every_score_with_its_interval(ran):
    _, results = ran
    small = results.loc["<b>small</b>"]
    assert (small["strategy"], small["rank"], small["alpha"], small["dropout"], small["targets"]) == (
        "peft",
        2,
        6,
        0.05,
        "default",
    )
    assert (small["seeds"], small["trainable_parameters"] > 0) == ("0 1", True)
    assert 0 < small["trainable_percent"] < 50
    costs = [
        "train_seconds",
        "predict_seconds",
        "context_rows",
        "train_context_rows",
    ]
    assert (small[costs] > 0).all()
    done = results.loc[["<b>small</b>", "tabicl-v2 Zero-shot"]]
    scores = [f"{part}_{metric}" for part in ("validation", "test") for metric in metrics_of("classification")]
    scores += ["validation_log_loss_half_width", "validation_accuracy_half_width"]
    assert done[scores].notna().all(axis=None)
    assert not any("rmse" in column for column in results)
    assert done["zero_shot_validation_log_loss"].nunique() == 1, "the same validation rows under the same seeds"


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


def test_a_failed_entry_keeps_its_row_with_the_reason_and_stops_no_other(ran):
    board, results = ran
    failed = results.loc["no such GPU"]
    assert "The device 'cuda:7' was requested" in failed["note"]
    assert (failed["status"], pd.isna(failed["place"])) == ("failed", True)
    assert (results["status"] == "finished").sum() == 2
    ranking = board.get_ranking()
    assert ranking["name"].iloc[-1] == "no such GPU"
    assert ranking["validation_accuracy"].dropna().is_monotonic_decreasing
    assert {"test_accuracy_half_width", "gain_half_width"} <= set(ranking)


def test_the_interval_is_students_t_over_the_seeds():
    assert half_interval([1.0, 2.0, 3.0]) == pytest.approx(4.302653 * 1 / np.sqrt(3))
    assert np.isnan(half_interval([1.0]))


def test_it_is_written_as_csv_json_and_a_page_with_the_trade_off(ran, tmp_path):
    board, results = ran
    for name in ("csv", "json", "html"):
        getattr(board, f"to_{name}")(tmp_path / f"board.{name}")
    assert (
        pd.read_csv(tmp_path / "board.csv")["validation_accuracy"].dropna().tolist()
        == results["validation_accuracy"].dropna().tolist()
    )
    assert [row["name"] for row in json.loads((tmp_path / "board.json").read_text())] == list(results.index)
    page = (tmp_path / "board.html").read_text()
    assert "Memory over the loaded model (MB)" in page
    assert "Training time (s)" in page
    assert "&lt;b&gt;small&lt;/b&gt;" in page
    assert "<b>small" not in page
    assert not re.search(r"<[^>]+\s(?:src|href)\s*=", re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))


@pytest.mark.parametrize("name", ["csv", "json", "html"])
def test_an_earlier_file_stays_if_the_new_one_cannot_be_written(ran, tmp_path, monkeypatch, name):
    file = tmp_path / f"board.{name}"
    file.write_text("earlier")
    monkeypatch.setattr(Path, "write_text", Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(OSError, match="No space left"):
        getattr(ran[0], f"to_{name}")(file)
    assert file.read_text() == "earlier"


def test_regression_has_only_regression_metrics(checkpoint):
    results = board_of(checkpoint, "regression").run()
    assert results["validation_rmse"].is_monotonic_increasing
    assert {"test_r2", "test_mae", "validation_rmse_half_width"} <= set(results)
    assert not any("accuracy" in column for column in results)


def test_running_again_runs_only_missing_entries(checkpoint, fitted):
    board = board_of(checkpoint)
    board.run()
    board.run(repeats=2)
    assert fitted == [0, 0, 1, 1]
    assert set(board.run(rank_by="log_loss")["seeds"]) == {"0"}
    assert len(fitted) == 4


def test_a_new_leaderboard_reuses_the_fits_of_its_folder_on_the_same_rows(fitted, tmp_path):
    for rows in (TRAIN, TRAIN, TEST):
        board = TabularLeaderboard(rows[0], TEST[0], rows[1], TEST[1], folder=tmp_path)
        board.add_model("tabicl-mini", "inference", tuning_params={"device": "cpu"})
        board.run()
    assert fitted == [0, 0], "the same rows are fitted once, other rows anew"


def test_the_folder_is_a_workspace_whose_leaderboard_ranks_alike(checkpoint, tmp_path):
    ours = board_of(checkpoint, folder=tmp_path).run()
    theirs = leaderboard(RunStore(tmp_path).runs(), "log_loss")
    columns = ["name", "place", "status", "rank", "validation_log_loss", "test_log_loss", "train_seconds", "gain"]
    pd.testing.assert_frame_equal(ours[columns], theirs[columns], check_dtype=False)
    assert theirs["sweep"].nunique() == 1


def test_failed_entries_run_again(checkpoint, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise LabelError("not today")

    board = board_of(checkpoint)
    with monkeypatch.context() as context:
        context.setattr(TabularPipeline, "_fit", refuse)
        assert set(board.run()["note"]) == {"not today"}
    assert set(board.run()["status"]) == {"finished"}


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
    with pytest.raises(SettingError, match="repeats is 0"):
        board.run(repeats=0)
