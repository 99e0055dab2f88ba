"""Tables and cards of pages; an error in a part of a page is shown in its place; a second click is not a second wish."""

import math
from unittest.mock import patch

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.answer_card import figures
from dashboard.views.compare.side_by_side import settings_table
from dashboard.views.data import columns_table
from dashboard.views.leaderboard.board_table import GAIN, SPREAD, _places
from tabtune_core.analysis.against_references import Rival
from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.recommendation import Recommendation
from tabtune_core.analysis.verdict import Verdict
from tabtune_core.data.datasets import add_dataset
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore

PLAIN = RunSettings(dataset="d", target="y")


@pytest.fixture
def differing(tmp_path):
    def table(*settings):
        store = RunStore(tmp_path)
        runs = store.runs(store.add_sweep(settings)[0])
        names = dict(zip([run.id for run in runs], "AB", strict=True))
        return settings_table(runs, names, differences_only=True).set_index("Setting").to_dict("index")

    return table


def test_a_setting_omitted_by_one_run_is_a_difference(differing):
    more = {"time_limit": 60.0, "eval_every": 5, "patience": 3, "predict_context_rows": 100}
    assert differing(PLAIN, PLAIN.changed(**more)) == {
        "Training: predict context rows": {"A": "not set", "B": "100"},
        "Training: time limit": {"A": "not set", "B": "60.0"},
        "Training: eval every": {"A": "not set", "B": "5"},
        "Training: patience": {"A": "not set", "B": "3"},
    }


def test_replaced_settings_and_equal_meanings_are_not_differences(differing):
    steps = PLAIN.changed(steps=7)
    assert differing(steps.changed(epochs=3), steps.changed(epochs=4)) == {}
    assert differing(PLAIN.changed(epochs=3), steps) == {"Training: steps": {"A": "not set", "B": "7"}}
    assert differing(PLAIN, PLAIN.changed(selection_metric="log_loss", alpha=16.0)) == {}


def test_settings_unused_by_a_strategy_are_not_differences(differing):
    adapted = PLAIN.changed(lr_ratio=4.0, dropout=0.3)
    assert set(differing(adapted.with_strategy("base-ft"), adapted)) == {"Strategy", "Training: learning rate"}


@pytest.mark.parametrize(
    ("edits", "unread"),
    [
        ({}, False),
        ({1: {"Kind": "category"}}, True),
        ({1: {"Kind": "number"}}, False),
        ({0: {"Kind": "category"}, 1: {}}, False),
    ],
)
def test_chosen_kinds_are_unread_until_the_table_has_them(tmp_path, monkeypatch, edits, unread):
    dataset = add_dataset(tmp_path, b"city,age,y\n" + b"rome,31,a\nparis,44,b\n" * 40, "t.csv")
    monkeypatch.setattr(columns_table.st, "session_state", {f"columns_{dataset.id[:12]}": {"edited_rows": edits}})
    assert columns_table.has_unread_kinds(dataset) is unread
    monkeypatch.setattr(columns_table.st, "session_state", {})
    assert not columns_table.has_unread_kinds(dataset)


@pytest.mark.parametrize(("tables", "places"), [("aaa", 5), ("aab", None)])
def test_a_run_that_explodes_takes_no_digits_from_a_score_and_several_targets_have_their_own(tables, places):
    scores = {"Validation": [0.56, 3e8, None], SPREAD: [3e-7, None, None]}
    frame = pd.DataFrame({"Table": list(tables), "Target": "y", **scores})
    assert _places(frame, "rmse", "Validation") == places
    assert _places(frame, "rmse", SPREAD) == _places(frame, "rmse", GAIN) == (places and 8)


NUMBERS = {
    **{"run": "a", "lora": "r=2", "gain": Difference(0.01, 0.02551, 1e9), "part": "test", "metric": "rmse"},
    "scores": {"r2": (0.51234, 0.6), "rmse": (33.195, 30.0)},
    "costs": {"growth_memory_bytes": 132e6, "train_seconds": math.nan, "adapter_bytes": 145_000.0},
    "classic": Rival("boosting", 28.26, 30.0, 1, 2.0, None),
}


def test_the_numbers_of_a_regression_are_r2_the_score_and_what_is_known_of_the_costs():
    shown = {label: value for label, value, _ in figures(Verdict(headline="h", choice=None, **NUMBERS))}
    assert shown == {
        "R²": "0.512 → 0.600",
        "RMSE": "33.2 → 30.0",
        "Memory": "132.0 MB",
        "Adapter": "145.0 kB",
        "Gradient boosting, RMSE": "28.3",
    }
    other = Verdict(headline="Use gradient boosting", choice="boosting", **NUMBERS)
    assert [label for label, *_ in figures(other)] == ["R², LoRA", "RMSE, LoRA", "Gradient boosting, RMSE"]


def test_a_gain_that_is_not_shown_is_said_with_its_interval():
    verdict = Verdict(headline="Use the model as it is", choice="inference", **NUMBERS)
    sentence = "Validation chooses r=2. Use the model as it is: it needs no training, and a gain is not shown."
    said = Recommendation((sentence,), "", pd.DataFrame(), verdict=verdict).in_short
    assert said.startswith("It needs no training, and a gain is not shown. ")
    assert "on the test rows: [-0.040, +0.060] in RMSE" in said


def page():
    import streamlit as st

    from dashboard.components.unreadable import page_part
    from tabtune_core.errors import StoreError

    @page_part()
    def part() -> None:
        raise StoreError("The database is damaged")

    part()
    st.write("The rest.")


def test_the_rest_of_a_page_is_drawn_if_one_part_fails():
    app = AppTest.from_function(page).run()
    assert not app.exception
    assert [error.value for error in app.error] == ["The database is damaged"]
    assert [text.value for text in app.markdown] == ["The rest."]


def queueing():
    import streamlit as st

    from dashboard.components.unreadable import once

    def add(settings: dict[str, int]) -> int:
        st.session_state.queued = [*st.session_state.get("queued", []), settings]
        return len(st.session_state.queued)

    for rank in (4, 8):
        st.button(f"Add {rank}", on_click=lambda rank=rank: once(add, {"rank": rank}))


def test_a_second_click_at_once_changes_nothing_and_a_later_one_does():
    app = AppTest.from_function(queueing).run()
    with patch("dashboard.components.unreadable.time.monotonic") as now:
        for seconds, button in ((10, 0), (15.5, 0), (15.6, 1), (21, 0), (27.1, 0), (27.2, 1)):
            now.return_value = seconds
            app.button[button].click().run()
    assert [one["rank"] for one in app.session_state.queued] == [4, 8, 4, 8]
