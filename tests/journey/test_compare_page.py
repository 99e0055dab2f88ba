"""The Compare page without a browser: trade-offs, ranks, and runs side by side."""

import numpy as np
import pandas as pd
import pytest
import seeding
from page_steps import button, go, texts

from tabtune_core.store.runs import RunStore


def at(app, tab, view=None, **query):
    if view is not None:
        app.session_state["side_by_side"] = view
    return go(app, "compare", view=tab, **query)


def write_predictions(store: RunStore, sweep: str) -> None:
    """Gives every run predictions of the same rows; LoRA is right on one row more than zero-shot."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=60)
    chances = np.clip(y * 0.7 + 0.1 + rng.normal(scale=0.2, size=60), 0.02, 0.98)
    for run in store.runs(sweep):
        p = chances.copy()
        p[0] = 0.9 if (run.settings.strategy == "peft") == y[0] else 0.1
        if run.settings.task == "regression":
            predicted = {"label": 100.0 + 50 * y, "predicted": 100 + 50 * p}
        else:
            names = np.array(["benign", "malignant"])
            predicted = {"label": names[y], "predicted": names[(p > 0.5).astype(int)], "prob_0": 1 - p, "prob_1": p}
        folder = store.run_dir(run.id)
        folder.mkdir(parents=True, exist_ok=True)
        rows = {"split": ["validation"] * 40 + ["test"] * 20, "row": np.arange(60)}
        pd.DataFrame(rows | predicted).to_parquet(folder / "predictions.parquet")


@pytest.fixture
def sweep(store):
    """A sweep in which every run has a result but no predictions."""
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2, 8)))
    for run in runs:
        seeding.start(run)
        run.end()
    return sweep


@pytest.fixture
def predicted(store, sweep):
    write_predictions(store, sweep)
    return sweep


def answer(store, job):
    rank = store.run(job.arguments["run"]).settings.lora.rank
    scores = [seeding.made_up_scores(accuracy) for accuracy in (0.9, 0.94, 0.95)]
    result = {"ranks": [0, 1, rank], "validation": scores, "test": scores, "needed": [1]}
    store.finish_job(job.id, "finished", result=result | {"seconds": 1.5})


def test_limits_name_the_best_run_within_them(app, sweep):
    at(app, "Trade-offs")
    assert "3 of 4 runs are the best trade-offs: **LoRA r=8, LoRA r=2, Zero" in texts(app.markdown)
    app.number_input(key="limit_run_growth_memory_bytes").set_value(35.0).run()
    assert "Within these limits **LoRA r=2** has the best validation log-loss, **0.1287**, with 33.3 MB over" in texts(
        app.markdown
    )
    app.number_input(key="limit_run_growth_memory_bytes").set_value(1.0).run()
    assert "No run is within these limits" in texts(app.markdown)
    assert not app.exception


def test_what_a_search_tried_has_a_tab_with_the_best_first(app, store, sweep):
    template = seeding.sweep_settings(store.home).run
    sizes = {"train_rows": 300, "validation_rows": 60, "features": 30, "classes": 2, "device": "cpu"}
    found, [first] = store.add_search([], template, seconds=600.0, sizes=sizes)
    second = store.add_try(found, template.changed(rank=4, learning_rate=1e-3))
    for run_id, luck in ((first, 0.0), (second, 0.03)):
        seeding.finish(seeding.FakeRun(store, store.run(run_id).settings, run_id, luck))
    at(app, "Search", sweep=found)
    assert not app.exception
    assert "10 minutes remain" in texts(app.caption)
    tried = app.dataframe[0].value
    assert tried["rank"][0] == 4
    assert sorted(tried["rank"][tried["ended"] == "finished, in another sweep"]) == [2, 8]
    app.selectbox(key="chosen_sweep").set_value(sweep).run()
    assert "Search" not in {tab.label for tab in app.tabs}


def test_the_rank_tab_names_the_smallest_rank_within_noise(app, predicted):
    at(app, "Rank")
    assert not app.exception
    assert "Log-loss against rank at one rate" in {found.value for found in app.header}
    assert "Validation chooses r=8 at one rate" in texts(app.markdown), "scores differ, predictions do not: no noise"
    app.selectbox(key="chosen_metric").set_value("ece").run()
    assert "Validation chooses" not in texts(app.markdown), "one calibration error for all: no rank gains"


def test_the_curve_over_ranks_is_a_job_whose_result_is_found_again(app, store, sweep):
    at(app, "Rank")
    button(app, "Compute").click().run()
    (job,) = store.jobs("rank_curve")
    assert store.run(job.arguments["run"]).settings.lora.rank == 8
    assert not [found for found in app.button if found.label == "Compute"], "it was asked for already"
    store.finish_job(job.id, "failed", error="There is no adapter package at adapter.zip.")
    app.run()
    assert "There is no adapter package" in texts(app.error)
    button(app, "Compute").click().run()
    answer(store, store.jobs("rank_curve")[0])
    app.run()
    assert not app.exception
    assert not app.error
    assert "90 % of the update lies in rank 1" in texts(app.markdown)


def test_rows_with_changed_predictions_show_which_run_is_right_and_their_values(app, predicted):
    at(app, "Runs side by side", "Changed rows")
    assert not app.exception
    assert "1 of 40 rows change: 1 become right, 0 become wrong" in texts(app.markdown)
    (row,) = app.dataframe[-1].value.to_dict("records")
    assert (row["Row"], row["Right"]) == (0, "LoRA r=8")
    assert row["Zero-shot: probability"] == pytest.approx(0.9)
    assert "mean radius" in row
    assert "diagnosis" not in row


def test_every_view_opens_without_predictions_and_jobs(app, sweep):
    at(app, "Runs side by side")
    for view in ("Settings", "Confusion", "Calibration", "Changed rows"):
        app.session_state["side_by_side"] = view
        app.run()
        assert not app.exception, view
        assert not app.error, view


def test_runs_that_predict_numbers_show_their_errors(app, store):
    sweep = seeding.finished_sweep(store, task="regression", ranks=(2, 4))
    write_predictions(store, sweep)
    at(app, "Rank")
    assert "RMSE against rank at one rate" in {found.value for found in app.header}
    at(app, "Runs side by side", "Errors")
    assert not app.exception
    app.session_state["side_by_side"] = "Changed rows"
    app.run()
    assert not app.exception
    assert "get closer to the true value" in texts(app.markdown)
