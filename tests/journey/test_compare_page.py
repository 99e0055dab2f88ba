"""The Compare page without a browser: trade-offs, ranks, and runs side by side."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import seeding
from page_steps import button, go, texts

from dashboard import queries
from tabtune_core.store.runs import RunStore

TABS = ("Trade-offs", "Rank", "Context rows", "Runs side by side")


def at(app, tab, view=None, **query):
    """Opens one of the page's tabs, and one of the tab's views."""
    if view is not None:
        app.session_state["side_by_side"] = view
    return go(app, "compare", view=tab, **query)


def write_predictions(store: RunStore, sweep: str) -> None:
    """Gives every run predictions of the same rows; LoRA is right on one row more than zero-shot."""
    for run in store.runs(sweep):
        numbers = run.settings.task == "regression"
        rng = np.random.default_rng(0)
        names = ["benign", "malignant"]
        y = rng.integers(2, size=60)
        p = np.clip(y * 0.7 + 0.1 + rng.normal(scale=0.2, size=60), 0.02, 0.98)
        if run.settings.strategy == "peft":
            p[0] = 0.9 if y[0] else 0.1
        else:
            p[0] = 0.1 if y[0] else 0.9
        rows = {"split": ["validation"] * 40 + ["test"] * 20, "row": np.arange(60)}
        if numbers:
            rows |= {"label": 100.0 + 50 * y, "predicted": 100 + 50 * p}
        else:
            rows |= {
                "label": np.array(names)[y],
                "predicted": np.array(names)[(p > 0.5).astype(int)],
                "prob_0": 1 - p,
                "prob_1": p,
            }
        folder = store.run_dir(run.id)
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(folder / "predictions.parquet")


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


def layer(rank):
    return {
        "path": f"blocks.{rank}",
        "target": "blocks",
        "shape": [8, 8],
        "rank": rank,
        "singular_values": [1.0] + [0.1] * (rank - 1),
        "update_norm": 1.1,
        "weight_norm": 10.0,
    }


def answer(store, job):
    """Writes the result of a job as the worker would."""
    rank = store.run(job.arguments["run"]).settings.lora.rank
    ranks = [0, 1, rank]
    scores = [seeding.made_up_scores(accuracy) for accuracy in (0.9, 0.94, 0.95)]
    result = {
        "ranks": ranks,
        "validation": scores,
        "test": scores,
        "layers": [layer(rank)],
        "beside": 0,
        "seconds": 1.5,
    }
    store.finish_job(job.id, "finished", result=result)


def test_limits_name_the_best_run_within_them(app, sweep):
    at(app, "Trade-offs")
    assert "3 of 4 runs are the best trade-offs on these 2 axes: **LoRA r=8, LoRA r=2, Zero" in texts(
        app.markdown
    ).replace("\\", "")
    app.number_input(key="limit_run_growth_memory_bytes").set_value(35.0).run()
    assert "Within these limits **LoRA r=2** has the best validation log-loss, **0.1287**, with 33.3 MB over" in texts(
        app.markdown
    ).replace("\\", "")
    app.number_input(key="limit_run_growth_memory_bytes").set_value(1.0).run()
    assert "No run is within these limits" in texts(app.markdown)
    assert not app.exception


def test_the_colour_of_points_can_be_a_third_number(app, sweep):
    at(app, "Trade-offs", x="train_seconds", y="adapter_bytes", colour="score")
    assert not app.exception
    assert app.selectbox(key="chosen_colour").value == "score"
    assert "Zero" in texts(app.caption), "no adapter is kept of zero-shot, so that it cannot be drawn"
    app.selectbox(key="chosen_x").set_value("adapter_bytes").run()
    assert not app.exception
    assert app.selectbox(key="chosen_y").value != "adapter_bytes"


def test_the_rank_tab_marks_the_smallest_rank_within_noise(app, predicted):
    at(app, "Rank")
    assert not app.exception
    assert {"Log-loss against rank", "Calibration error against rank"} <= {found.value for found in app.header}
    assert "Lower is better. r* = 8" in texts(app.caption), (
        "scores were made up to differ, predictions to be the same: no noise"
    )
    assert texts(app.caption).count("r* =") == 1, "one calibration error for all: no rank gains, so none is chosen"


def test_a_rank_is_drawn_by_the_compared_runs(app, store, sweep):
    one = next(run for run in store.runs(sweep) if run.settings.lora.rank == 2 and run.settings.strategy == "peft")
    for more in ({"seed": 1}, {"steps": 7}):
        settings = one.settings.changed(**more)
        seeding.finish(
            seeding.FakeRun(store, settings, store.duplicate(one.id, settings, f"LoRA r=2, {next(iter(more))}"))
        )
    at(app, "Rank")
    told = texts(app.caption).replace("\\", "")
    assert told.count("stopped before the end): LoRA r=2, seed, LoRA r=2, steps.") == 2


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
    assert "90% of the update lies in rank 1" in texts(app.markdown)
    assert "Truncated to rank 1, its validation log" in texts(app.markdown)


def answer_rows_shown(store, job):
    """Writes the result of a job about zero-shot and its runs as the worker would."""
    states = [
        ("inference", None, 0.9),
        *((store.run(run).settings.strategy, run, 0.93) for run in job.arguments["runs"]),
    ]
    rows = []
    for strategy, run, accuracy in states:
        for shown in (64, 256, 341):
            gains = {
                "gain": 0.03 * (strategy != "inference"),
                "more": 0.01,
                "gain_half_width": 0.01,
                "more_half_width": 0.01,
            }
            made_up = seeding.made_up_scores(accuracy + shown / 10_000)
            scores = {
                name: {"score": score, "first": score, "score_half_width": 0.02, **gains}
                for name, score in made_up.items()
            }
            rank = store.run(run).settings.lora.rank if strategy == "peft" else None
            rows.append(
                {
                    "strategy": strategy,
                    "rank": rank,
                    "run": run,
                    "context_rows": shown,
                    "predict_seconds": 0.1,
                    "growth_memory_bytes": 5e6,
                    "validation": scores,
                    "test": scores,
                }
            )
    store.finish_job(
        job.id, "finished", result={"rows": rows, "device": "cpu (1 thread)", "train_rows": 341, "seconds": 2.0}
    )


def test_the_curve_over_context_rows_is_a_job_whose_result_is_found_again(app, store, sweep):
    at(app, "Context rows")
    assert "its weights were not kept" in texts(app.caption), "the made-up full fine-tuning left none"
    button(app, "Compute").click().run()
    (job,) = store.jobs("context_curve")
    (run,) = job.arguments["runs"]
    assert store.run(run).settings.lora.rank == 8
    assert not [found for found in app.button if found.label == "Compute"], "it was asked for already"
    store.finish_job(job.id, "failed", error="The base's weights are gone.")
    app.run()
    assert "weights are gone" in texts(app.error)
    button(app, "Compute").click().run()
    answer_rows_shown(store, store.jobs("context_curve")[0])
    app.run()
    assert not app.exception
    assert not app.error
    assert (
        "Using 341 context rows instead of 256 makes no difference to log-loss on the test rows beyond noise"
        in texts(app.markdown).replace("\\", "")
    )
    assert "Rank 8 with 341 context rows improves log-loss on the test rows by 0.0300 ± 0.0100" in texts(
        app.markdown
    ).replace("\\", "")
    for axis in ("seconds", "memory"):
        app.session_state["rows_axis"] = axis
        app.run()
        assert not app.exception


def test_only_settings_that_differ_are_side_by_side(app, sweep):
    at(app, "Runs side by side")
    settings = set(app.dataframe[-1].value["Setting"])
    assert {"Strategy", "LoRA: rank"} <= settings
    assert "Dataset" not in settings


def test_rows_with_changed_predictions_show_which_run_is_right_and_their_values(app, predicted):
    at(app, "Runs side by side", "Changed rows")
    assert not app.exception
    assert "the class of 1 of 40 rows changes: 1 become right, 0 become wrong" in texts(app.markdown)
    (row,) = app.dataframe[-1].value.to_dict("records")
    assert (row["Row"], row["Right"]) == (0, "LoRA r=8")
    assert row["Zero-shot: probability"] == pytest.approx(0.9)
    assert "mean radius" in row
    assert "diagnosis" not in row


def test_every_view_opens_without_predictions_and_jobs(app, sweep):
    at(app, "Runs side by side")
    for view in ("Curves", "Confusion", "Calibration", "Changed rows", "Update size"):
        app.session_state["side_by_side"] = view
        app.run()
        assert not app.exception, view
        assert not app.error, view


def test_the_size_of_the_update_is_requested_for_all_runs_at_once(app, store, sweep):
    at(app, "Runs side by side", "Update size")
    button(app, "Compute it for 2 runs").click().run()
    jobs = store.jobs("rank_curve")
    assert len({job.arguments["run"] for job in jobs}) == 2
    for job in jobs:
        answer(store, job)
    app.run()
    assert not app.exception
    assert not [found for found in app.button if found.label.startswith("Compute")]


def test_runs_that_predict_numbers_show_their_errors(app, store):
    sweep = seeding.finished_sweep(store, task="regression", ranks=(2, 4))
    write_predictions(store, sweep)
    at(app, "Runs side by side", "Errors")
    assert not app.exception
    app.session_state["side_by_side"] = "Changed rows"
    app.run()
    assert not app.exception
    assert "get closer to the true value" in texts(app.markdown)
    at(app, "Rank")
    assert "R² against rank" in {found.value for found in app.header}


def test_the_memory_of_a_process_is_not_compared_with_that_of_a_gpu(app, sweep, monkeypatch):
    ranked = queries.ranked

    def of_two_meters(*asked):
        board = ranked(*asked)
        return board.assign(memory_meter=board["strategy"].map({"inference": "resident"}).fillna("torch_allocated"))

    monkeypatch.setattr(queries, "ranked", of_two_meters)
    at(app, "Trade-offs")
    assert "2 of 3 runs are the best trade-offs on these 2 axes: **LoRA r=8, LoRA r=2**" in texts(app.markdown).replace(
        "\\", ""
    )
    assert "its memory is of another kind (GPU or process) than that of most trained runs: Zero-shot." in texts(
        app.caption
    ).replace("\\", "")


def test_a_running_sweep_does_not_crash(app, store):
    seeding.going_sweep(store, steps=2)
    app.run()
    for tab in TABS:
        at(app, tab)
        assert not app.exception, tab


def test_a_configuration_with_an_incomplete_run_is_compared_by_its_other_runs(app, store):
    _, runs = seeding.queue(
        store, dataclasses.replace(seeding.sweep_settings(store.home, ranks=(8,), seeds=(0, 1)), full_fine_tuning=False)
    )
    for run in runs:
        seeding.start(run)
        run.end(*["stopped"] * (run.settings.strategy == "peft" and run.settings.seed == 1))
    at(app, "Trade-offs")
    assert "2 of 2 configurations are the best trade-offs" in texts(app.markdown)


def test_two_hundred_runs_open_in_every_tab(app, store):
    seeding.many_runs(store, sweeps=1, per_sweep=200, looks=2)
    at(app, "Trade-offs")
    assert not app.exception
    assert "of 40 configurations are the best trade-offs" in texts(app.markdown)
    app.toggle(key="over_seeds").set_value(False).run()
    assert "of 200 runs are the best trade-offs" in texts(app.markdown)
    for tab, heading in (("Rank", "Calibration error against rank"), ("Runs side by side", None)):
        at(app, tab)
        assert not app.exception, tab
        assert heading is None or heading in {found.value for found in app.header}
