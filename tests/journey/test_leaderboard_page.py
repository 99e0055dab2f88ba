"""The Leaderboard without a browser: empty, with one run and with 200; filters, files, and actions on chosen lines."""

import dataclasses
import io
import re

import pandas as pd
import pytest
import seeding
from page_steps import type_in
from random_sweeps import two_halves

from dashboard import queries
from dashboard.queries import boards
from dashboard.views.leaderboard import board_table, exports
from tabtune_core.analysis.recommendation import with_noise
from tabtune_core.events import to_json
from tabtune_core.execution.jobs.track import track
from tabtune_core.metrics import METRICS

HEADLINE = re.compile(
    r"Validation chooses r=(\d+)(?: among the LoRA runs)?:.*\sOn the test rows it .*: (\S+), 95 % interval (\S+) to "
    r"(\S+?)\.\s",
    re.DOTALL,
)


def open_page(app, **query):
    app.run()
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page("views/leaderboard/page.py").run()


def texts(elements):
    return " ".join(str(element.value) for element in elements).replace("\\", "")


def board(app):
    return app.dataframe[0].value


def press(app, label):
    next(found for found in app.button if found.label == label).click().run()
    assert not app.exception


def choose(app, *rows):
    """Chooses lines of the board by number, as a click on their checkboxes does."""
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    app.run()


def one_run(store):
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    for run in runs:
        store.ask(run.id, "cancel")
    for run in runs[:2]:
        store.delete(run.id)
    return runs[2].id


def test_an_empty_workspace_says_what_to_do_next(app):
    open_page(app)
    assert not app.exception
    assert "No run yet" in texts(app.info)


def test_a_run_without_a_result_has_a_line_but_no_place(app, store):
    one_run(store)
    open_page(app)
    assert not app.exception
    assert board(app)["Run"].tolist() == ["LoRA r=2"]
    assert board(app)["Place"].isna().all()


def test_two_hundred_runs_are_shown_singly_and_by_configuration(app, store):
    seeding.many_runs(store, sweeps=4, per_sweep=50, looks=3)
    open_page(app, board="all")
    assert not app.exception
    assert len(board(app)) == 200
    assert len(board(app)["Curve"].iloc[0]) == 3
    app.selectbox(key="chosen_lines").set_value("configuration").run()
    assert not app.exception
    assert len(board(app)) == 40
    assert set(board(app)["Seeds"]) == {5}
    app.multiselect(key="columns_all_configuration").set_value(["± validation"]).run()
    assert (board(app)["± validation"] > 0).all()


def test_saved_seconds_and_time_limits_have_columns_only_if_a_run_has_them(app, store):
    seeding.finished_sweep(store)
    open_page(app)
    assert {"Computed before (s)", "What happened"}.isdisjoint(board(app))
    (run, *_) = [run for run in store.runs() if run.settings.strategy == "peft"]
    result = dataclasses.replace(run.result, shared_saved_seconds=9.5, ended_by="time limit")
    store._write("UPDATE runs SET result = ? WHERE id = ?", (to_json(result)[1], run.id))
    store.rename(run.id, "Limited")
    app.run()
    shown = board(app).set_index("Run")
    assert shown["Computed before (s)"].to_dict()["Limited"] == 9.5
    assert shown["What happened"].to_dict()["Limited"] == "ended by its time limit"
    assert (shown["Computed before (s)"] > 0).sum() == 1


def test_filters_hide_lines_but_do_not_change_places(app, store):
    seeding.many_runs(store, sweeps=2, per_sweep=50, looks=0)
    open_page(app, board="all", only_rank=["r=4", "r=16"])
    assert not app.exception
    assert set(board(app)["Run"].str.extract(r"r=(\d+)")[0]) == {"4", "16"}
    assert board(app)["Place"].max() > len(board(app)) == 20
    assert "20 of 100 runs shown" in texts(app.caption)
    app.text_input(key="only_text").set_value("R=4 SEED 3").run()
    assert board(app)["Run"].str.replace(r", \d+ \w+ [\d:]+$", "", regex=True).unique().tolist() == ["LoRA r=4 seed 3"]


def test_sweeps_and_lines_with_the_same_title_can_be_distinguished(app, store, monkeypatch):
    monkeypatch.setattr("dashboard.formatting.moment", lambda seconds: "now")
    older, newer = (seeding.finished_sweep(store, ranks=ranks, seeds=(0, 1)) for ranks in ((2, 4), (2, 8)))
    for run in store.runs():
        store.annotate(run.id, run.sweep)
    open_page(app, board="all", lines="configuration", only_rank="r=2", only_text=older)
    assert board(app)["Run"].tolist() == ["LoRA r=2"]
    choose(app, 0)
    assert "Chosen: 2 runs" in texts(app.markdown)
    app.text_input(key="only_text").set_value(newer).run()
    assert board(app)["Run"].tolist() == ["LoRA r=2"]
    assert "Chosen" not in texts(app.markdown), "another line with the same name"
    app.multiselect(key="only_rank").set_value(["r=8"]).run()
    for sweep in (newer, older, newer, older):
        app.selectbox(key="chosen_board").set_value(sweep).run()
        assert app.query_params["board"] == sweep
    assert "Filters" in [found.proto.popover.label for found in app.get("popover")], "another label would close it"
    assert "1 filter on" in texts(app.markdown), "the text; the rank is none of this sweep"


def test_errors_of_several_targets_have_each_their_own_digits(store):
    sweeps = seeding.many_runs(store, sweeps=2, per_sweep=3, looks=0, task="regression")
    ranked = queries.ranked(None, "rmse")
    errors = [name for name in ranked if name.endswith("_rmse")]
    small = ranked["sweep"] == sweeps[0]
    ranked.loc[small, errors] /= 1e6
    ranked.loc[~small, errors] *= 1e3
    ranked.loc[small, "target"] = "other"
    shown = board_table.table(ranked, "rmse", {}, {}, {})
    column = board_table.columns(shown, "rmse")["Validation"]
    for score, own in zip(ranked["validation_rmse"], shown["Validation"], strict=True):
        text = column["type_config"]["format"] % own
        assert float(text) == pytest.approx(score, rel=1e-4)
        assert float(text) == float(METRICS["rmse"].text(score).replace(",", ""))
        assert 7 * len(text) + 17 <= column["width"]


def test_a_long_board_keeps_every_gain_and_leaves_out_only_the_interval(store, monkeypatch):
    sweep = seeding.finished_sweep(store)
    monkeypatch.setattr(boards, "_half_widths", lambda *asked: {"gain": 0.1, "test_gain": 0.1})
    monkeypatch.setattr(boards, "MOST_GAINS", 1)
    of_sweep, of_all = queries.ranked(sweep, "log_loss"), queries.ranked(None, "log_loss")
    assert of_all["gain"].dropna().tolist() == of_sweep["gain"].dropna().tolist()
    assert (
        of_all["gain_half_width"].notna().sum()
        <= 1
        < of_sweep["gain_half_width"].notna().sum()
        == of_sweep["gain"].notna().sum()
    )


def test_chosen_runs_can_be_noted_archived_and_unarchived(app, store):
    sweep = seeding.finished_sweep(store)
    open_page(app)
    choose(app, 0, 1)
    assert "Chosen: 2 runs" in texts(app.markdown)
    next(box for box in app.text_input if box.label == "Note").set_value("*kept* for Ann").run()
    press(app, "Save the note")
    assert sum(run.note == "*kept* for Ann" for run in store.runs(sweep)) == 2
    assert (board(app)["Note"] != "").sum() == 2
    first = board(app)["Run"].iloc[0]
    choose(app, 0)
    press(app, "Archive")
    assert first not in board(app)["Run"].tolist()
    assert "1 archived run is excluded" in texts(app.caption)
    app.toggle(key="archived").set_value(True).run()
    assert board(app)["Place"].isna().tolist() == [False] * 4 + [True]
    choose(app, 4)
    press(app, "Restore from the archive")
    assert not any(run.archived for run in store.runs(sweep))


def test_tags_are_set_for_all_chosen_runs_filter_the_board_and_are_exported(app, store):
    sweep = seeding.finished_sweep(store, ranks=(2, 4))
    kept = store.runs(sweep)[0].id
    store.tag(kept, ["night"])
    open_page(app)
    choose(app, *range(4))
    box = next(found for found in app.multiselect if found.key.startswith("tags_"))
    type_in(box, ["good"])
    box.run()
    press(app, "Save the tags")
    assert {run.tags for run in store.runs(sweep)} == {("good",), ("night", "good")}
    app.multiselect(key="only_tag").set_value(["night"]).run()
    assert board(app)["Tags"].tolist() == ["night good"]
    assert pd.read_csv(io.StringIO(exports.csv(queries.ranked(sweep, "log_loss"), "log_loss")))["tags"].notna().all()


@pytest.mark.parametrize(
    ("icon", "title"), [("compare_arrows", "Compare"), ("monitoring", "Live"), ("inventory_2", "Adapters")]
)
def test_chosen_runs_go_on_to_another_page(app, store, icon, title):
    sweep = seeding.finished_sweep(store, ranks=(2, 4))
    open_page(app, lines="run")
    chosen = board(app)["Run"].tolist()[:2]
    ids = [run.id for name in chosen for run in store.runs(sweep) if run.name == name]
    choose(app, 0, 1)
    assert "Log-loss of the chosen runs" in texts(app.markdown)
    app.button(key=f"go_{icon}").click().run()
    assert not app.exception
    assert app.title[0].value == title
    named = " ".join(str(value) for value in app.query_params.values())
    assert ids[0] in named or ids[1] in named


def test_a_pages_button_says_why_it_cannot_take_the_chosen_runs(app, store):
    seeding.finished_sweep(store, ranks=(2,))
    seeding.finished_sweep(store, ranks=(2,))
    open_page(app, board="all")
    zero_shot = [place for place, name in enumerate(board(app)["Run"]) if name.startswith("Zero-shot")]
    choose(app, *zero_shot)
    assert "Choose runs of one sweep" in app.button(key="go_compare_arrows").help
    assert app.button(key="go_compare_arrows").disabled
    assert "The chosen runs have no verified adapter" in app.button(key="go_inventory_2").help


def test_a_stopped_run_is_marked_and_never_leads(app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    seeding.finish(runs[0])
    for run, outcome in ((runs[1], "diverged"), (runs[2], "stopped")):
        seeding.start(run)
        run.step(1)
        run.end(outcome)
    open_page(app)
    assert (
        "**Zero-shot** is the only run in the ranking, on the validation rows with log-loss **0.1620**. Validation"
        in texts(app.markdown)
    )
    assert board(app).set_index("Run")["Status"].to_dict()["LoRA r=2"] == "◐ stopped, best kept"


def test_runs_without_a_common_seed_never_lead(app, store):
    two_halves(store)
    open_page(app)
    assert "Nothing is compared, because no seed has a score for every configuration." in texts(app.markdown)
    assert "leads" not in texts(app.markdown)


def test_an_archived_run_does_not_affect_the_sentence(app, store):
    sweep = seeding.finished_sweep(store, seeds=(0, 1))
    open_page(app, metric="accuracy")
    assert "r=4 has the best validation accuracy" in texts(app.markdown)
    for run in store.runs(sweep):
        if "r=4" in run.name:
            store.archive(run.id)
    app.run()
    assert "r=8 has the best validation accuracy" in texts(app.markdown)


def test_a_run_can_be_renamed(app, store):
    seeding.finished_sweep(store, ranks=(2,))
    open_page(app)
    choose(app, 0)
    next(box for box in app.text_input if box.label == "Name").set_value("the best one").run()
    press(app, "Save the name")
    assert board(app)["Run"].iloc[0] == "Full fine-tuning: the best one"


def test_delete_says_what_it_frees_and_keeps_running_runs(app, store):
    sweep, runs = seeding.going_sweep(store)
    lora = next(run for run in runs if run.settings.strategy == "peft")
    (store.run_dir(lora.id)).mkdir(parents=True)
    (store.run_dir(lora.id) / "adapter.zip").write_bytes(bytes(3_200_000))
    folder = store.run_dir(lora.id)
    open_page(app)
    choose(app, *range(len(runs)))
    app.session_state["delete_chosen"] = True  # open, as after a click
    app.run()
    assert "2 of them are queued or running and will stay" in texts(app.caption)
    assert "This frees **3.2 MB**" in texts(app.markdown)
    press(app, "Delete permanently")
    assert {run.status for run in store.runs(sweep)} == {"running", "queued"}
    assert not folder.exists()


@pytest.mark.parametrize("per", ["run", "configuration"])
def test_the_headline_agrees_with_the_exported_csv(app, store, per):
    sweep = with_predictions(store, {2: range(108), 4: range(111), 8: range(109)}, before=range(110))
    open_page(app, lines=per, metric="accuracy")
    found = queries.recommended(sweep, "accuracy").configurations
    exported = (
        with_noise(queries.ranked(sweep, "accuracy"), found)
        if per == "run"
        else queries.configurations(sweep, "accuracy")
    )
    table = pd.read_csv(io.StringIO(exports.csv(exported, "accuracy")))
    rank, *numbers = HEADLINE.search(texts(app.markdown)).groups()
    best = (
        table[table["strategy"] == "peft"].sort_values(["validation_accuracy", "rank"], ascending=[False, True]).iloc[0]
    )
    half = best["test_gain_half_width"]
    assert (int(rank), half > 0) == (best["rank"], True)
    gain, low, high = map(float, numbers)
    assert (gain, low) == pytest.approx((best["test_gain"], best["test_gain"] - half), abs=5.005e-5)
    assert high > gain + half, "the side away from 0 is the longer one: few rows make the difference"
    shown = board(app).set_index("Run").loc[f"LoRA r={rank}"]
    assert (shown["Gain on test"], shown["± gain on test"]) == pytest.approx((best["test_gain"], half))


def with_predictions(store, right, *, before, **more):
    """A sweep with made-up scores whose runs kept predictions; ``right`` has the rows that LoRA predicts right, by
    rank.
    """
    sweep = seeding.finished_sweep(store, ranks=tuple(right), **more)
    for run in store.runs(sweep):
        seeding.predict(
            store, run.id, right[run.settings.lora.rank] if run.settings.strategy == "peft" else before, before
        )
    return sweep


def test_the_worker_sends_a_sweep_to_a_tracker_and_the_page_says_how_to_view_it(app, store, monkeypatch):
    monkeypatch.setattr(queries, "keep_worker", lambda: None)
    monkeypatch.setattr(queries, "look_after_worker", lambda: None)
    sweep = seeding.finished_sweep(store, ranks=(2,))
    open_page(app)
    next(found for found in app.button if found.label == "TensorBoard").click().run()
    (job,) = store.jobs()
    assert (job.kind, job.arguments) == ("track", {"sweep": sweep, "to": "tensorboard"})
    made = track(store.home, store.job_dir(job.id), **job.arguments)
    told, _, left_out = made["told"].partition(" The adapter of ")
    assert told == f"TensorBoard has the sweep {sweep}; {len(store.runs(sweep))} runs of it new or changed."
    assert "was not sent" in left_out  # seeded runs have no real packages
    store.claim_job(1, None)
    store.finish_job(job.id, "finished", result=made)
    app.run()
    assert not app.exception and made["look"] in [code.value for code in app.code]


def test_full_fine_tuning_is_compared_with_lora_by_measured_values(app, store):
    seeding.finished_sweep(store, seeds=(0, 1), ranks=(2, 4))
    open_page(app)
    table = app.dataframe[1].value.set_index("Aspect")
    assert table.at["Storage", "Full fine-tuning"] == "2.7 MB"
    assert table.at["Training memory over the model", "Better"] == "LoRA"
    assert table.at["Training time", "Best LoRA against full"] == "about the same"
    assert table.at["Training time", "Zero-shot"] == "N/A"
