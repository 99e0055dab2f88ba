"""The Leaderboard without a browser: the answer, the table, its file, and actions on chosen lines."""

import dataclasses
import re

import pandas as pd
import pytest
import seeding
from page_steps import button, go, texts

from dashboard import queries
from tabtune_core.analysis.recommendation import with_noise
from tabtune_core.analysis.runs_table import of_task
from tabtune_core.analysis.verdict import NO_BETTER
from tabtune_core.metrics import METRICS


def board(app):
    return app.dataframe[0].value


def press(app, label):
    button(app, label).click().run()
    assert not app.exception


def choose(app, *rows):
    """Chooses lines of the board by number, as a click on their checkboxes does."""
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    app.run()


def test_chosen_runs_are_noted_archived_opened_elsewhere_and_deleted_but_not_while_they_run(app, store):
    sweep, runs = seeding.going_sweep(store)
    lora = next(run for run in runs if run.settings.strategy == "peft")
    folder = store.run_dir(lora.id)
    folder.mkdir(parents=True)
    (folder / "adapter.zip").write_bytes(bytes(3_200_000))
    go(app, "leaderboard")
    assert "appears after the last run" in texts(app.caption)
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
    app.toggle(key="archived").set_value(True).run()
    (away,) = board(app).index[board(app)["Archived"] == "archived"]
    assert pd.isna(board(app)["Place"][away])
    choose(app, away)
    press(app, "Restore from the archive")
    assert not any(run.archived for run in store.runs(sweep))
    choose(app, *range(len(runs)))
    app.session_state["delete_chosen"] = True  # open, as after a click
    app.run()
    assert "2 of them are queued or running and will stay" in texts(app.caption)
    assert "This frees **3.2 MB**" in texts(app.markdown)
    press(app, "Delete permanently")
    assert {run.status for run in store.runs(sweep)} == {"running", "queued"}
    assert not folder.exists()


def test_chosen_runs_go_on_to_the_pages_that_show_them(app, store):
    sweep = seeding.finished_sweep(store, ranks=(2, 4))
    for icon, title in {"compare_arrows": "Compare", "monitoring": "Live", "inventory_2": "Adapters"}.items():
        go(app, "leaderboard", lines="run")
        names = board(app)["Run"].tolist()[:2]
        ids = [run.id for name in names for run in store.runs(sweep) if run.name == name]
        choose(app, 0, 1)
        app.button(key=f"go_{icon}").click().run()
        assert not app.exception
        assert app.title[0].value == title
        named = " ".join(str(value) for value in app.query_params.values())
        assert ids[0] in named or ids[1] in named


def test_a_run_without_a_result_has_no_place_and_a_stopped_one_never_leads(app, store):
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    seeding.finish(runs[0])
    seeding.start(runs[1])
    runs[1].step(1)
    runs[1].end("stopped")
    for run in runs[2:]:
        store.ask(run.id, "cancel")
    go(app, "leaderboard")
    assert not app.exception
    assert "**Zero-shot** is alone: validation log-loss **0.1620**" in texts(app.markdown)
    places = board(app).set_index("Status")["Place"]
    assert places.notna().tolist() == [True, False, False]
    assert "◐ stopped, best kept" in places.index


def test_where_no_run_beats_a_constant_far_target_values_are_named_with_the_way_out(app, store, monkeypatch):
    sweep = seeding.finished_sweep(store, task="regression")
    found = queries.recommended(sweep, "rmse")
    worse = dataclasses.replace(found, verdict=dataclasses.replace(found.verdict, headline=NO_BETTER))
    monkeypatch.setattr(queries, "recommended", lambda *of_sweep: worse)
    monkeypatch.setattr(queries, "far_values", lambda *of_target: ["1e+11", "2e+11"])
    go(app, "leaderboard", metric="rmse")
    assert "1e+11, 2e+11" in texts(app.warning)
    press(app, "Leave them out on Data")
    assert app.title[0].value == "Data"


@pytest.mark.parametrize("per", ["run", "configuration"])
def test_the_card_agrees_with_the_table_and_its_file(app, store, per):
    right, before = {2: range(108), 4: range(111), 8: range(109)}, range(110)
    sweep = seeding.finished_sweep(store, ranks=tuple(right))
    for run in store.runs(sweep):
        own = right[run.settings.lora.rank] if run.settings.strategy == "peft" else before
        seeding.predict(store, run.id, own, before)
    go(app, "leaderboard", lines=per, metric="accuracy")
    found = queries.recommended(sweep, "accuracy")
    (file,) = [made for made in app.get("download_button") if "CSV" in made.proto.label]
    assert file
    exported = (
        with_noise(queries.ranked(sweep, "accuracy"), found.configurations)
        if per == "run"
        else queries.configurations(sweep, "accuracy")
    )
    table = of_task(exported, "classification")
    lora = table[table["strategy"] == "peft"].sort_values(["validation_accuracy", "rank"], ascending=[False, True])
    best = lora.iloc[0]
    assert (found.verdict.headline, best["rank"]) == ("Cannot tell", 4)
    assert [shown.value for shown in app.header] == ["Cannot tell"]
    low, high = map(float, re.search(r"\[(\S+), (\S+)\] in accuracy", texts(app.markdown)).groups())
    widest = best["test_gain"] - best["test_gain_half_width"], best["test_gain"] + best["test_gain_half_width"]
    assert low < widest[0] < widest[1] < high, "the intervals of an answer allow for all comparisons"
    shown = {found.label: found.value for found in app.metric}
    ends = [float(end) for end in shown["Accuracy"].removesuffix(" %").split(" → ")]
    rows = queries.predictions(found.verdict.run, "test")
    for end, predicted in zip(ends, (rows.zero_shot, rows.predicted), strict=True):
        score = METRICS["accuracy"].score(rows.y_N, predicted, rarer=rows.rarer)
        assert end == pytest.approx(100 * score, abs=0.05)
    line = board(app).set_index("Run").loc[f"LoRA r={best['rank']:.0f}"]
    assert line["Gain on test"] == pytest.approx(best["test_gain"])
