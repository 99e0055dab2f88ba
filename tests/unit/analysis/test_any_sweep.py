"""Boards and texts can be made for any sweep, whatever is missing from it."""

import itertools
import re
from functools import partial

import numpy as np
import pytest
from random_sweeps import random_sweep, two_halves

from tabtune_core.analysis.comparison import half_widths, with_half_widths
from tabtune_core.analysis.configurations import by_configuration
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.pareto import best_of, front
from tabtune_core.analysis.recommendation import recommend, with_noise
from tabtune_core.analysis.runs_table import leaderboard, of_task
from tabtune_core.analysis.sweep_page import page
from tabtune_core.metrics import METRICS, metrics_of
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
    page(of_task(board, runs[0].settings.task), rank_by)
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
