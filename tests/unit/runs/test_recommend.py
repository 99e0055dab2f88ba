"""What a sweep says about rank, on cases that can be worked out on paper."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from tabtune_core.events import RunFinished, RunPlanned
from tabtune_core.metrics import METRICS, metrics_of, score_all
from tabtune_core.runs.predictions import PREDICTIONS_FILE
from tabtune_core.runs.ranking import leaderboard
from tabtune_core.runs.recommend import recommend, with_noise
from tabtune_core.runs.store import RunStore
from tabtune_core.settings import LoraSettings, RunSettings

MEGABYTES = {2: 100.0, 4: 101.0, 32: 104.0}
UP_DOWN = pytest.mark.parametrize("metric", ["accuracy", "log_loss"])


class Lab:
    """A sweep of runs with given scores."""

    def __init__(self, home):
        self.store = RunStore(home)

    def add(self, *runs, metric="accuracy", zero_shot=0.5):
        """``runs`` are (rank, or a strategy, or settings; one score a seed; right rows of 20, which are then written down)."""
        settings = [(self.settings(what, seed), score, *right) for what, scores, *right in runs for seed, score in enumerate(scores)]
        self.sweep, ids = self.store.add_sweep([one for one, *_ in settings])
        for run_id, (one, score, *right) in zip(ids, settings, strict=True):
            self.store.append(run_id, RunPlanned("cpu", 1, 60, 20, 20, 60, 15, 2, ("no", "yes"), 100, 4, (), {}))
            if right:
                self.predict(run_id, right[0])
            self.store.finish(run_id, "finished", result=self.result(one, {metric: score}, {metric: zero_shot}))
        return self

    def settings(self, what, seed):
        if isinstance(what, LoraSettings):
            return RunSettings(dataset="d", target="y", lora=what, seed=seed)
        if isinstance(what, int):
            return self.settings(LoraSettings(rank=what), seed)
        return RunSettings(dataset="d", target="y", strategy=what, seed=seed)

    def result(self, settings, scores, zero_shot):
        rank = settings.lora.rank
        return RunFinished(
            "finished", 5, 9, False, scores, scores, zero_shot, zero_shot, 10.0 + rank, 0.1, 10**9, int(1e6 * MEGABYTES.get(rank, 200)),
            "resident", 4, 100, 1000 * rank if settings.strategy == "peft" else None,
        )  # fmt: skip

    def predict(self, run_id, right):
        """All 20 rows are ``yes``; those numbered in ``right`` are predicted so."""
        folder = self.store.run_dir(run_id)
        folder.mkdir(parents=True)
        p_N = np.where(np.isin(np.arange(20), list(right)), 0.9, 0.2)
        frame = pd.DataFrame({"split": "validation", "row": range(20), "label": "yes", "prob_0": 1 - p_N, "prob_1": p_N})
        frame.to_parquet(folder / PREDICTIONS_FILE)

    def board(self, metric="accuracy"):
        return leaderboard(self.store.runs(self.sweep), metric)

    def said(self, metric="accuracy"):
        found = recommend(self.store, self.board(metric), metric)
        return " ".join((*found.sentences, found.basis))

    def rows(self, metric="accuracy"):
        table = recommend(self.store, self.board(metric), metric).configurations
        return table.set_index(table["rank"].astype("string").fillna(table["strategy"]))


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def towards(metric, score):
    """A score as it is for accuracy, turned round for a loss, so that one case serves both directions."""
    return score if METRICS[metric].higher_is_better else 1 - score


@UP_DOWN
def test_over_three_seeds_the_error_is_of_the_paired_differences(lab, metric):
    scores = {2: (0.70, 0.60, 0.65), 4: (0.79, 0.69, 0.77), 32: (0.80, 0.70, 0.75), "inference": (0.5, 0.5, 0.5)}
    lab.add(*((what, [towards(metric, s) for s in of]) for what, of in scores.items()), metric=metric)
    rows = lab.rows(metric)
    # r=4 and r=32 have the mean 0.75; r=4 is the smaller. r=2 lies 0.09, 0.09, 0.12 behind it: mean 0.1, deviation 0.0173, over root 3 0.01
    assert rows.loc["2", ["gap", "gap_error"]].tolist() == pytest.approx([0.1, 0.01])
    # 0.01, 0.01, -0.02 behind
    assert rows.loc["32", ["gap", "gap_error"]].tolist() == pytest.approx([0.0, 0.01])
    # 0.29, 0.19, 0.27 over zero-shot
    assert rows.loc["4", ["gain", "gain_error"]].tolist() == pytest.approx([0.25, math.sqrt(0.0028 / 3)])
    assert rows["tied"].to_dict() == {"4": True, "32": True, "2": False, "inference": False}
    assert "paired differences over 3 seeds" in lab.said(metric)


def test_the_smallest_rank_within_one_standard_error_is_named_with_what_the_best_costs(lab):
    # r=4 lies 0, 0.02 behind r=32: mean 0.01 is exactly the standard error, so it is within
    lab.add((2, (0.6, 0.6)), (4, (0.80, 0.78)), (32, (0.80, 0.80)), ("inference", (0.5, 0.5)))
    assert (
        "r=4 is the smallest rank within one standard error of the best (r=32); "
        "r=32 costs +3.0 MB of memory, +28.0 s of training and +28.0 kB of adapter for +0.0100 ± 0.0100 accuracy."
    ) in lab.said()
    assert (
        "r=32 is more than one standard error better than zero-shot on these 20 validation rows: +0.3000 ± 0.0000 accuracy." in lab.said()
    )
    assert "Rank is not the lever on memory here (100.0 to 104.0 MB); context rows are." in lab.said()


def test_lower_is_better_turns_the_sentence_round(lab):
    lab.add((4, (0.20, 0.22)), (32, (0.20, 0.20)), ("inference", (0.5, 0.5)), metric="log_loss")
    assert (
        "r=32 costs +3.0 MB of memory, +28.0 s of training and +28.0 kB of adapter for -0.0100 ± 0.0100 nats of log-loss (lower is better)."
        in lab.said("log_loss")
    )
    assert "-0.3000 ± 0.0000 nats of log-loss (lower is better)" in lab.said("log_loss")


def test_a_best_rank_that_nothing_smaller_equals_is_priced_against_the_next_best_below(lab):
    lab.add((2, (0.6, 0.6)), (4, (0.8, 0.8)), (32, (0.7, 0.7)))
    assert "r=4 is the best, and no smaller rank is within one standard error of it; against r=2 it costs +1.0 MB" in lab.said()
    assert "for +0.2000 ± 0.0000 accuracy" in lab.said()


def test_one_rank_alone_asks_for_others(lab):
    lab.add((4, (0.8, 0.8)), ("inference", (0.5, 0.5)))
    assert "r=4 is the only rank of this sweep; add others to see what rank buys." in lab.said()


def test_a_best_rank_that_is_the_smallest(lab):
    lab.add((2, (0.8, 0.8)), (4, (0.7, 0.7)))
    assert "r=2 is the smallest rank, and no larger one is better; r=4 costs +1.0 MB" in lab.said()


def test_with_one_seed_the_validation_rows_are_resampled(lab):
    lab.add((2, (0.5,), range(10)), (4, (0.75,), range(2, 17)), (32, (0.8,), range(16)), ("inference", (0.5,), range(10)))
    rows = lab.rows()
    # accuracy is a mean, so its error is near sqrt(variance of the paired differences / rows): 6 rows of 20 differ, and 2 against 1
    assert rows.loc["2", "gap_error"] == pytest.approx(math.sqrt((0.3 - 0.3**2) / 20), rel=0.1)
    assert rows.loc["4", "gap_error"] == pytest.approx(math.sqrt((0.15 - 0.05**2) / 20), rel=0.1)
    assert rows["tied"].to_dict() == {"32": True, "4": True, "2": False, "inference": False}
    assert rows.loc["inference", ["gain", "gain_error"]].tolist() == [0, 0]
    assert "over 200 resamples of the 20 validation rows" in lab.said()


@pytest.mark.parametrize("metric", metrics_of("classification"))
def test_the_same_predictions_are_tied_by_every_score(lab, metric):
    y_N, p_N = np.ones(20, dtype=int), np.where(np.arange(20) < 12, 0.9, 0.2)
    score = score_all(y_N, np.column_stack([1 - p_N, p_N]))[metric]
    lab.add((2, (score,), range(12)), (4, (score,), range(12)), metric=metric)
    expected = {} if np.isnan(score) else {"2": True, "4": True}
    assert lab.rows(metric)["tied"].to_dict() == expected


def test_no_gain_beyond_noise_is_said_first(lab):
    lab.add((2, (0.52, 0.48)), (4, (0.53, 0.49)), ("inference", (0.5, 0.5)))
    assert lab.said().startswith("No rank is better than zero-shot beyond noise on these 20 validation rows.")


def test_full_fine_tuning_that_is_better_is_said(lab):
    lab.add((2, (0.6, 0.6)), (4, (0.8, 0.8)), ("base-ft", (0.9, 0.88)))
    assert "Full fine-tuning is more than one standard error better than the best LoRA (r=4): +0.0900 ± 0.0100 accuracy." in lab.said()


def test_full_fine_tuning_within_noise_is_not_called_better(lab):
    lab.add((2, (0.6, 0.6)), (4, (0.8, 0.8)), ("base-ft", (0.82, 0.79)))
    assert "Full" not in lab.said()


def test_memory_that_moves_with_rank_is_no_matter_of_context_alone(lab):
    lab.add((2, (0.6, 0.6)), (64, (0.8, 0.8)))
    assert "lever" not in lab.said()


def test_without_predictions_one_seed_has_no_interval_and_says_so(lab):
    lab.add((2, (0.7,)), (4, (0.8,)), ("inference", (0.5,)))
    assert "r=4 has the best accuracy of the LoRA runs: 0.8000 (zero-shot 0.5000)." in lab.said()
    assert "no predictions for its rows" in lab.said()
    assert lab.rows()["tied"].isna().all()
    assert "±" not in lab.said()


def test_predictions_of_other_rows_or_from_a_damaged_file_give_no_interval(lab):
    lab.add((2, (0.7,), range(14)), (4, (0.8,), range(16)))
    worse, best = (lab.store.run_dir(run.id) / PREDICTIONS_FILE for run in lab.store.runs())
    pd.read_parquet(worse).assign(row=range(1, 21)).to_parquet(worse)
    assert lab.rows()["gap_error"].isna().to_dict() == {"4": False, "2": True}
    assert "Runs without predictions for these rows have none." in lab.said()
    best.write_bytes(b"no parquet")
    assert lab.rows()["gap_error"].isna().to_dict() == {"4": True, "2": True}


def test_a_score_that_is_no_number_leaves_its_seed_out_for_all(lab):
    lab.add((2, (0.6, 0.6, math.nan)), (4, (0.8, 0.7, 0.1)))
    assert lab.rows()["score"].to_dict() == pytest.approx({"4": 0.75, "2": 0.6})
    assert "Compared on seeds 0, 1, where every configuration has a score." in lab.said()


def test_a_sweep_that_is_under_its_second_seed_is_compared_on_the_first(lab):
    lab.add((2, (0.6, 0.6), range(12)), (4, (0.8,), range(16)))
    assert lab.rows()["score"].to_dict() == pytest.approx({"4": 0.8, "2": 0.6})
    assert "resamples of the 20 validation rows" in lab.said()
    assert "Compared on seed 0, where" in lab.said()


def test_a_configuration_without_any_score_is_not_compared(lab):
    lab.add((2, (math.nan, math.nan)), (4, (0.8, 0.7)), (32, (0.9, 0.9)))
    assert set(lab.rows().index) == {"4", "32"}


def test_what_else_differs_at_one_rank_is_named(lab):
    lab.add((LoraSettings(rank=4, dropout=0.0), (0.6, 0.6)), (LoraSettings(rank=4, dropout=0.2), (0.8, 0.8)), (32, (0.7, 0.7)))
    assert "r=4 (dropout 0.2) is the smallest rank, and no larger one is better; r=32 (dropout 0.05) costs" in lab.said()


def test_one_run_alone_is_not_compared(lab):
    assert lab.add((4, (0.8,))).said() == ""


def test_runs_know_their_place_in_the_noise(lab):
    lab.add((2, (0.6, 0.6)), (4, (0.80, 0.78)), (32, (0.80, 0.80)), (8, (math.nan, math.nan)))
    board = lab.board()
    noisy = with_noise(board, recommend(lab.store, board, "accuracy").configurations)
    assert list(noisy.columns[: len(board.columns)]) == list(board.columns)
    assert noisy.groupby("rank")["tied_with_best"].apply(lambda tied: tied.tolist()).to_dict() == {
        2: [False, False], 4: [True, True], 8: [pd.NA, pd.NA], 32: [True, True],
    }  # fmt: skip


def test_the_numbers_of_the_sentence_come_back_from_the_exported_table(lab, tmp_path):
    lab.add((2, (0.71, 0.69, 0.72)), (4, (0.812, 0.793, 0.805)), (32, (0.811, 0.799, 0.803)), ("inference", (0.5,) * 3))
    lab.board().to_csv(tmp_path / "board.csv", index=False)
    lora = pd.read_csv(tmp_path / "board.csv").query("strategy == 'peft'")
    scores = lora.pivot(index="seed", columns="rank", values="validation_accuracy")
    best = scores.mean().idxmax()
    behind = scores.rsub(scores[best], axis=0)
    small = (behind.mean() <= behind.std() / math.sqrt(3)).idxmax()
    means = lora.groupby("rank")[["growth_memory_bytes", "train_seconds", "adapter_bytes", "validation_accuracy"]].mean()
    expected = [*(means.loc[best] - means.loc[small]) / [1e6, 1, 1e3, 1], behind[small].std() / math.sqrt(3)]
    said = re.search(
        r"r=(\d+) is the smallest .*\(r=(\d+)\).* costs (\S+) MB of memory, (\S+) s of training and (\S+) kB of adapter for (\S+) ± (\S+) accuracy",
        lab.said(),
    )
    assert [int(rank) for rank in said.groups()[:2]] == [small, best]
    np.testing.assert_array_less(np.abs(np.array(said.groups()[2:], dtype=float) - expected), [0.051, 0.051, 0.051, 5.1e-5, 5.1e-5])


def test_differences_of_numbers_are_in_the_targets_unit_with_digits_that_tell(lab):
    lab.add((2, [54_000.0, 54_100.0]), (8, [50_000.0, 50_300.0]), ("inference", [60_000.0, 60_200.0]), metric="rmse", zero_shot=60_000.0)
    said = lab.said("rmse")
    assert re.search(r"r=8 .* costs .* for -3900 ± 100 RMSE \(in the target's unit, lower is better\)", said), said


def test_lora_that_takes_more_memory_than_full_fine_tuning_says_so(lab, monkeypatch):
    monkeypatch.setitem(MEGABYTES, 8, 50)  # of full fine-tuning, whose rank is idle
    lab.add((2, (0.6,)), (4, (0.7,)), ("base-ft", (0.7,)), ("inference", (0.5,)))
    assert "LoRA saved no memory here (100.0 MB at least, full fine-tuning 50.0 MB)" in lab.said()
    monkeypatch.setitem(MEGABYTES, 8, 500)
    lab.add((2, (0.6,)), (4, (0.7,)), ("base-ft", (0.7,)), ("inference", (0.5,)))
    assert "saved no memory" not in lab.said()


def test_references_change_nothing_of_what_is_said_about_rank(tmp_path):
    runs = [("inference", (0.5, 0.52, 0.51)), (2, (0.6, 0.65, 0.62)), (4, (0.7, 0.72, 0.71))]
    alone = Lab(tmp_path / "alone").add(*runs)
    beside = Lab(tmp_path / "beside").add(*runs, ("boosting", (0.9, 0.95, 0.92)), ("linear", (0.4,)))
    assert beside.said() == alone.said() != ""
    assert set(beside.rows().index) == set(alone.rows().index)
    assert beside.board()["strategy"].iloc[0] == "boosting"
