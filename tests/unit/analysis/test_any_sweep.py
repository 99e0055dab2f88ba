"""Boards, texts, references and ensembles of any sweep, on random sweeps and on cases worked out by hand."""

import itertools
import re
from functools import partial

import numpy as np
import pytest
from made_sweeps import Lab
from random_sweeps import random_sweep, two_halves

from tabtune_core.analysis.against_references import rival
from tabtune_core.analysis.comparison import half_widths, with_half_widths
from tabtune_core.analysis.configurations import by_configuration
from tabtune_core.analysis.ensemble import LORA, ensemble_of
from tabtune_core.analysis.gains import beyond_noise
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.pareto import best_of, front
from tabtune_core.analysis.recommendation import recommend, with_noise
from tabtune_core.analysis.runs_table import leaderboard, of_task
from tabtune_core.analysis.sweep_page import page
from tabtune_core.metrics import METRICS, metrics_of
from tabtune_core.settings import RunSettings
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.runs import RunStore

A_GAIN = re.compile("(^|_)(gain|gap|more|difference)$")
"""Names of columns that hold a gain."""


def say_everything(store, sweep, rank_by):
    """Makes everything that the pages and the command line show of a sweep."""
    runs = store.runs(sweep)
    board = leaderboard(runs, rank_by)
    assert len(board) == len(runs)
    answer = recommend(store, board, rank_by)
    assert len(answer.configurations) == len(answer.configurations.dropna(subset=["score"]))
    of_run = partial(half_widths, metric=METRICS[rank_by], load=partial(read_predictions, store))
    boards = [
        with_half_widths(with_noise(board, answer.configurations), of_run),
        by_configuration(board, rank_by, answer.configurations),
        answer.configurations,
    ]
    of_line = boards[1].explode("runs").set_index("runs").loc[[runs[0] for runs in answer.configurations["runs"]]]
    for name, of_board in (("score", f"validation_{rank_by}"), ("gain", "gain")):
        known = of_line[of_board].notna().to_numpy()
        assert of_line.loc[known, of_board].tolist() == pytest.approx(answer.configurations.loc[known, name].tolist())
    assert [name for each in boards for name in each if A_GAIN.search(name) and half_width(name) not in each] == []
    front(board, {"run_growth_memory_bytes": True, f"validation_{rank_by}": False})
    best_of(board, f"validation_{rank_by}", higher_is_better=True)
    page(of_task(board, runs[0].settings.task), rank_by, title="", lead=(), picture=b"", figures={}, parts={})
    return answer


def test_without_a_shared_seed_there_is_a_board_but_no_recommendation(tmp_path):
    store = RunStore(tmp_path)
    answer = say_everything(store, two_halves(store), "log_loss")
    assert answer.sentences == () and answer.configurations.empty
    assert answer.basis.startswith("Nothing is compared, because no seed has a score for every configuration.")


@pytest.mark.parametrize(("task", "seed"), list(itertools.product(("classification", "regression"), range(6))))
def test_any_subset_of_a_sweep_has_a_board(tmp_path, task, seed):
    rng = np.random.default_rng(seed)
    store = RunStore(tmp_path)
    sweep = random_sweep(store, rng, task, whole=(0.0, 0.9)[seed % 2])
    for rank_by in rng.choice(metrics_of(task), 2, replace=False):
        say_everything(store, sweep, str(rank_by))


def beside(lab, strategy, *, trained=True):
    own = [run.id for run in lab.store.runs(lab.sweep) if run.settings.strategy == "peft"]
    return rival(lab.board(), "accuracy", partial(read_predictions, lab.store), strategy, own, trained=trained)


def test_a_reference_is_compared_row_by_row_on_the_shared_seeds(tmp_path):
    lora, boosting = (4, (0.9, 0.7), range(18)), ("boosting", (0.5, 0.7), range(10))
    lab = Lab(tmp_path).add(lora, ("linear", (0.8,), range(16)), boosting)
    first, second = beside(lab, "linear"), beside(lab, "boosting")
    assert (first.name, first.score, first.ours, first.seeds) == ("the linear model", 0.8, 0.9, 1)
    assert (second.score, second.ours, second.seeds) == (pytest.approx(0.6), pytest.approx(0.8), 2)
    assert second.ahead.value == pytest.approx(-0.4)
    assert (beyond_noise(first.ahead), beyond_noise(second.ahead)) == (0, -1)
    before = beside(lab, "boosting", trained=False)
    assert (before.ours, before.ahead.value) == (pytest.approx(0.5), pytest.approx(0.0))


def test_without_predictions_no_winner_is_named(tmp_path):
    assert beside(Lab(tmp_path).add((4, (0.9,)), ("boosting", (0.5,))), "boosting").ahead is None
    assert beside(Lab(tmp_path / "none").add((4, (0.9,))), "boosting") is None


@pytest.mark.parametrize(("right", "sign"), [(range(20), -1), (range(10), 0), (range(2), 1)])
def test_a_constant_is_compared_as_a_run_of_its_own(tmp_path, right, sign):
    lab = Lab(tmp_path).add((4, (0.9,), right), ("constant", (0.5,), range(10)))
    assert beyond_noise(beside(lab, "constant").ahead) == sign


def test_seeds_that_chose_other_rates_in_a_race_are_one_rival(tmp_path):
    lab = Lab(tmp_path)
    full = RunSettings(dataset="d", target="y", strategy="base-ft")
    won, lost = (0.8, "finished", range(16)), (None, "outrun")
    lab.race((full, 1e-5, won, lost), (full, 1e-4, lost, won), (4, 1e-3, won, won))
    assert beside(lab, "base-ft").seeds == 2


ZERO = ("inference", (0.5,), range(10))


def together(lab, rank_by="accuracy"):
    own = [run.id for run in lab.store.runs(lab.sweep) if run.settings.strategy == "peft"]
    return ensemble_of(lab.board(rank_by), own, rank_by, partial(read_predictions, lab.store))


def test_models_with_errors_of_their_own_are_mixed_and_what_lora_adds_is_measured(tmp_path):
    lab = Lab(tmp_path).add(ZERO, (4, (0.7,), range(14)), ("boosting", (0.65,), range(7, 20)))
    found = together(lab)
    assert found.weights.keys() == {LORA, "gradient boosting"} and sum(found.weights.values()) == 1
    assert found.others == ("zero-shot", "gradient boosting")
    assert found.validation == found.test == 1.0  # one of the two is right everywhere, and surer where both are
    assert found.added.value > 0 and found.gain.value == pytest.approx(0.5)
    assert "zero-shot and gradient boosting together" in found.sentence(METRICS["accuracy"])


def test_weights_are_the_greedy_optimum_of_the_log_loss(tmp_path):
    lab = Lab(tmp_path).add((4, (0.5,), range(10)), ("boosting", (0.5,), range(10, 20)))
    found = together(lab, "accuracy")
    assert {name: float(weight) for name, weight in found.weights.items()} == {LORA: 0.5, "gradient boosting": 0.5}


def test_a_lora_that_is_worse_on_every_row_gets_no_weight(tmp_path):
    found = together(Lab(tmp_path).add(ZERO, (4, (0.6,), range(3)), ("boosting", (0.9,), range(18))))
    assert LORA not in found.weights and found.added is None
    assert found.sentence(METRICS["accuracy"]).startswith("LoRA adds nothing to gradient boosting:")


def test_a_model_that_predicts_as_an_earlier_one_gets_no_weight(tmp_path):
    same = [("base-ft", (0.8,), range(16)), ("boosting", (0.8,), range(16)), (4, (0.8,), range(16))]
    assert len(together(Lab(tmp_path).add(*same)).weights) == 1


def test_beside_zero_shot_alone_nothing_is_said_twice(tmp_path):
    found = together(Lab(tmp_path).add(ZERO, (4, (0.9,), range(18))))
    assert found.added is None and found.sentence(METRICS["accuracy"]) == ""
    found = together(Lab(tmp_path / "one").add((4, (0.9,), range(18)), ("boosting", (0.8,), range(16))))
    assert set(found.weights) == {LORA} and found.added is None  # LoRA against boosting has its own sentence


def test_costs_are_those_of_all_members(tmp_path):
    lab = Lab(tmp_path).add((4, (0.5, 0.5), range(10)), ("boosting", (0.5, 0.5), range(10, 20)))
    board, found = lab.board().set_index("strategy"), together(lab)
    assert found.train_seconds == pytest.approx(
        board.loc["peft", "train_seconds"].iloc[0] + board.loc["boosting", "train_seconds"].iloc[0]
    )
    assert found.memory_bytes == board["growth_memory_bytes"].max() and found.adapter_bytes == 4000


@pytest.mark.parametrize(
    "runs", [[(4, [0.9], range(18))], [(4, [0.9]), ("boosting", [0.5])], [(4, [0.9], range(9)), ("boosting", [0.5])]]
)
def test_one_member_or_missing_predictions_make_no_ensemble(tmp_path, runs):
    assert together(Lab(tmp_path).add(*runs)) is None


def test_members_with_other_rows_or_seeds_stay_out(tmp_path):
    lab = Lab(tmp_path).add(ZERO, (4, (0.9,), range(18)), ("boosting", (0.9,), range(2, 20)))
    read = partial(read_predictions, lab.store)
    [run] = [run.id for run in lab.store.runs(lab.sweep) if run.settings.strategy == "boosting"]

    def others(which, part):
        rows = read(which, part)
        if which == run:
            rows.rows_N[:] = np.roll(rows.rows_N, 1)
        return rows

    own = [one.id for one in lab.store.runs(lab.sweep) if one.settings.strategy == "peft"]
    assert "gradient boosting" not in ensemble_of(lab.board(), own, "accuracy", others).weights
    lab = Lab(tmp_path / "seeds").add((4, (0.9, 0.9), range(18)), ("boosting", (0.9,), range(2, 20)))
    assert together(lab) is None
