"""Configurations over several seeds: means, intervals, ranking, and what is left out of them."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import random_sweeps
from null_sweeps import sweep

from tabtune_core.analysis.comparison import compare
from tabtune_core.analysis.configurations import by_configuration
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings

BASE = dataclasses.replace(random_sweeps.BASE, zero_shot_validation={"log_loss": 0.6}, adapter_verified=True)


def lora(rank, seed=0, **others):
    return RunSettings(dataset="d", target="y", lora=LoraSettings(rank=rank), seed=seed, **others)


def add(store, *pairs):
    """Adds a sweep of ``pairs``: settings and a log-loss, None for a failed run. Returns the sweep."""
    sweep, ids = store.add_sweep([settings for settings, _ in pairs])
    for run_id, (_, loss) in zip(ids, pairs, strict=True):
        result = None if loss is None else dataclasses.replace(BASE, validation={"log_loss": loss})
        store.finish(
            run_id, "failed" if loss is None else "finished", result=result, error="broke" if loss is None else None
        )
    return sweep


def lines(store, sweep=None, rank_by="log_loss"):
    return by_configuration(leaderboard(store.runs(sweep), rank_by), rank_by)


def test_a_line_is_the_mean_over_its_seeds(store):
    sweep = add(
        store,
        *((lora(4, seed), loss) for seed, loss in enumerate((0.1, 0.2, 0.3))),
        *((lora(8, seed), 0.4) for seed in range(3)),
    )
    table = lines(store, sweep).set_index("name")
    assert table["validation_log_loss"].to_dict() == pytest.approx({"LoRA r=4": 0.2, "LoRA r=8": 0.4})
    assert table[["seeds", "seed_count", "place"]].to_numpy().tolist() == [["0 1 2", 3, 1], ["0 1 2", 3, 2]]


def test_lines_are_compared_on_the_seeds_that_all_share(store):
    sweep = add(store, (lora(4, 0), 0.3), (lora(4, 1), 0.1), (lora(8, 0), 0.2), (lora(8, 1), None), (lora(16, 0), None))
    table = lines(store, sweep).set_index("rank")
    assert table["validation_log_loss"].to_dict() == pytest.approx({8: 0.2, 4: 0.3, 16: math.nan}, nan_ok=True)
    assert table["place"].dropna().to_dict() == {8: 1, 4: 2}
    assert table["status"].to_dict() == {4: "finished", 8: "1 finished, 1 failed", 16: "failed"}


def test_an_archived_run_is_not_ranked_and_enters_no_mean(store):
    sweep = add(store, (lora(4, 0), 0.1), (lora(4, 1), 0.2), (lora(8, 0), 0.3), (lora(8, 1), 0.4))
    best, *_ = store.runs(sweep)
    store.archive(best.id)
    runs = leaderboard(store.runs(sweep), "log_loss").set_index("run")
    assert runs["place"].isna().sum() == 1
    assert pd.isna(runs.at[best.id, "place"])
    table = lines(store, sweep).set_index("rank")
    assert (table.at[4, "validation_log_loss"], table.at[4, "seeds"]) == (0.2, "1")
    for run in store.runs(sweep)[:2]:
        store.archive(run.id)
    table = lines(store, sweep).set_index("rank")
    assert table["place"].dropna().to_dict() == {8: 1}
    assert table["archived"].to_dict() == {8: False, 4: True}


def test_a_changed_setting_makes_a_separate_line_and_is_named(store):
    sweep = add(
        store, *((lora(4, s, train=TrainSettings(context_rows=rows)), 0.1) for s in (0, 1) for rows in (500, 2048))
    )
    assert set(lines(store, sweep)["name"]) == {"LoRA r=4 (context_rows 500)", "LoRA r=4 (context_rows 2048)"}


def test_a_configuration_that_ran_twice_with_one_seed_counts_its_first_run(store):
    sweep = add(store, (lora(4, 0), 0.1), (lora(4, 0), 0.0), (lora(4, 1), 0.4), (lora(8, 0), 0.2), (lora(8, 1), 0.3))
    table = lines(store, sweep).set_index("rank")
    assert table["validation_log_loss"].to_dict() == pytest.approx({4: 0.25, 8: 0.25})


def test_a_reference_that_lacks_a_seed_does_not_remove_it_from_other_lines(store):
    linear = lora(4).with_strategy("linear")
    sweep = add(store, *((lora(rank, seed), rank / 10 + seed) for rank in (4, 8) for seed in (0, 1)), (linear, 0.2))
    table = lines(store, sweep).set_index("strategy")
    assert table.loc["peft", ["validation_log_loss", "place"]].to_numpy().tolist() == pytest.approx(
        np.array([[0.9, 1], [1.3, 2]])
    )
    assert (table.at["linear", "validation_log_loss"], table.at["linear", "seeds"]) == (0.2, "0")
    assert pd.isna(table.at["linear", "place"])


def test_only_a_comparison_gives_intervals_and_only_of_the_ranking_score_and_the_gains():
    runs, load = sweep(np.random.default_rng(7), metric="log_loss", seeds=3)
    board = leaderboard(runs, "log_loss")
    compared = compare(board, "log_loss", load).configurations.assign(tied=None)
    table = by_configuration(board, "log_loss", compared)
    halves = {f"{name}_half_width" for name in ("validation_log_loss", "test_log_loss", "gain", "test_gain")}
    assert {name for name in table if name.endswith("_half_width") and table[name].notna().any()} == halves
    assert by_configuration(board, "log_loss").filter(like="half_width").empty
