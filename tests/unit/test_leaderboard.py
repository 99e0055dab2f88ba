"""The leaderboard of pipelines: the same rows for all, a failure keeps to its own row, and nothing runs twice."""

import pytest
from small_table import small_table

from tabtune_core import TabularLeaderboard
from tabtune_core.errors import SettingError
from tabtune_core.metrics import metrics_of
from tabtune_core.pipeline import TabularPipeline

FAST = {"device": "cpu", "steps": 2, "eval_every": 1, "learning_rate": 5e-3}


@pytest.fixture
def board():
    (X_train, y_train), (X_test, y_test) = small_table(), small_table(40, seed=1)
    return TabularLeaderboard(X_train, X_test, y_train, y_test)


def test_rows_carry_settings_costs_and_every_score_and_a_failure_stops_no_other(board):
    board.add_model("tabicl-mini", "peft", name="no such card", tuning_params={**FAST, "device": "cuda:7"})
    board.add_model("tabicl-mini", "peft", name="small", tuning_params={**FAST, "peft_config": {"r": 2, "lora_alpha": 6}})
    board.add_model("tabicl-mini", "inference")
    results = board.run(rank_by="accuracy").set_index("name")
    small, failed = results.loc["small"], results.loc["no such card"]
    assert (small["strategy"], small["rank"], small["alpha"], small["dropout"]) == ("peft", 2, 6, 0.05)
    assert 0 < small["trainable_percent"] < 5
    assert small["train_seconds"] > 0
    assert small["growth_memory_bytes"] >= 0
    scores = [f"{part}_{metric}" for part in ("validation", "test") for metric in metrics_of("classification")]
    assert results.loc[["small", "tabicl-mini Zero-shot"], scores].notna().all(axis=None)
    assert results["zero_shot_validation_log_loss"].nunique() == 1, "the same validation rows under the same seed"
    assert "The device 'cuda:7' was asked for" in failed["error"]
    assert (failed["status"], list(results["error"] == "").count(True)) == ("failed", 2)
    ranking = board.get_ranking()
    assert ranking["name"].iloc[-1] == "no such card"
    assert ranking["validation_accuracy"].dropna().is_monotonic_decreasing
    assert "test_accuracy" in ranking


def test_running_again_runs_only_what_has_not_run(board, monkeypatch):
    fitted, fit = [], TabularPipeline.fit

    def counting(self, X, y):
        fitted.append(self.tuning_params["seed"])
        return fit(self, X, y)

    monkeypatch.setattr(TabularPipeline, "fit", counting)
    for seed in (1, 2):
        board.add_model("tabicl-mini", "inference", name=f"seed {seed}", tuning_params={"device": "cpu", "seed": seed})
        board.run()
    assert fitted == [1, 2]
    assert len(board.run(rank_by="log_loss")) == 2


def test_what_cannot_be_asked_is_refused_at_once(board):
    with pytest.raises(SettingError, match="Nothing has run yet"):
        board.get_ranking()
    with pytest.raises(SettingError, match=r"Did you mean 'peft_config\.lora_alpha'"):
        board.add_model("tabicl-mini", "peft", tuning_params={"peft_config": {"lora_alfa": 3}})
    board.add_model("tabicl-mini", "inference")
    with pytest.raises(SettingError, match="There is an entry 'tabicl-mini Zero-shot' already"):
        board.add_model("tabicl-mini", "inference")
    with pytest.raises(SettingError, match="cannot rank by 'acc'"):
        board.run(rank_by="acc")
