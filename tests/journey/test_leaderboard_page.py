"""The Leaderboard without a browser: empty, with one run and with 200; filters, files, and actions on chosen lines."""

import io
import re

import pandas as pd
import pytest
import seeding

from dashboard import queries
from dashboard.views.leaderboard import exports
from tabtune_core.analysis.recommendation import with_noise
from tabtune_core.metrics import METRICS


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


def test_a_run_without_a_result_has_a_line_but_no_place(app, store):
    one_run(store)
    open_page(app)
    assert not app.exception
    assert board(app)["Run"].tolist() == ["LoRA r=2"]
    assert board(app)["Place"].isna().all()


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
def test_the_card_agrees_with_the_exported_csv(app, store, per):
    sweep = with_predictions(store, {2: range(108), 4: range(111), 8: range(109)}, before=range(110))
    open_page(app, lines=per, metric="accuracy")
    found = queries.recommended(sweep, "accuracy")
    exported = (
        with_noise(queries.ranked(sweep, "accuracy"), found.configurations)
        if per == "run"
        else queries.configurations(sweep, "accuracy")
    )
    table = pd.read_csv(io.StringIO(exports.csv(exported, "accuracy")))
    lora = table[table["strategy"] == "peft"].sort_values(["validation_accuracy", "rank"], ascending=[False, True])
    best = lora.iloc[0]
    assert (found.verdict.headline, best["rank"]) == ("Cannot tell", 4)
    assert [shown.value for shown in app.header] == ["Cannot tell"]
    low, high = map(float, re.search(r"\[(\S+), (\S+)\] in accuracy", texts(app.markdown)).groups())
    widest = best["test_gain"] - best["test_gain_half_width"], best["test_gain"] + best["test_gain_half_width"]
    assert low < widest[0] < widest[1] < high, "the intervals of an answer allow for all comparisons"
    shown = {found.label: found.value for found in app.metric}
    before, after = (float(end) for end in shown["Accuracy"].removesuffix(" %").split(" → "))
    rows = queries.predictions(found.verdict.run, "test")
    assert after == pytest.approx(100 * METRICS["accuracy"].score(rows.y_N, rows.predicted, rarer=rows.rarer), abs=0.05)
    untrained = METRICS["accuracy"].score(rows.y_N, rows.zero_shot, rarer=rows.rarer)
    assert before == pytest.approx(100 * untrained, abs=0.05)
    line = board(app).set_index("Run").loc[f"LoRA r={best['rank']:.0f}"]
    assert line["Gain on test"] == pytest.approx(best["test_gain"])


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


