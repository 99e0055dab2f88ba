"""Settings survive the widgets; a wrong entry gives a helpful error; text from files is shown literally."""

import ast
import dataclasses
import re
import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard.formatting import duration, plain
from dashboard.table_columns import as_they_come, digits_behind, rounded
from dashboard.views.new_run import form_widgets, forms
from tabtune_core.errors import SettingError
from tabtune_core.metrics import METRICS
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings

PLAIN = SweepSettings(run=RunSettings(dataset="d", target="t"))
NUMBERS = SweepSettings(
    run=RunSettings(dataset="d", target="t", task="regression", train=TrainSettings(selection_metric="r2"))
)


GRID = SweepSettings(
    run=RunSettings(
        dataset="d", target="t", lora=LoraSettings(alpha=4.0, dropout=0.0, targets=("decoder", "row_attention"))
    ),
    ranks=(2, 4),
    alphas=(4.0, 1 / 3 + 4),
    dropouts=(0.0, 0.123456789),
    target_sets=(("decoder", "row_attention"), (), ("col_embedder",)),
    learning_rates=(1e-5, 2.00000001e-4),
    full_learning_rates=(1e-5,),
)
"""On every axis, the run has the first value."""
GRID = dataclasses.replace(GRID, run=dataclasses.replace(GRID.run, train=TrainSettings(learning_rate=1e-5)))


@pytest.mark.parametrize("sweep", [PLAIN, NUMBERS, GRID], ids=["defaults", "numbers", "grid"])
def test_settings_survive_the_widgets(sweep):
    assert forms.to_sweep(forms.to_widgets(sweep), dataset="d", target="t", task=sweep.run.task) == sweep


def test_a_task_has_its_default_score_and_the_chosen_split_is_used():
    run = forms.to_sweep({}, dataset="d", target="t", task="regression", split=("time", "day")).run
    assert (run.selection_metric, run.split_by, run.split_column) == ("rmse", "time", "day")


@pytest.mark.parametrize(
    ("widgets", "message"),
    [
        *(({"rank_pattern": text}, "write for example decoder=4") for text in ("decoder", "decoder = many", "= ")),
        *(
            ({name: ["a lot"], "tied": False}, "is 'a lot', which is not a number")
            for name in ("dropouts", "alphas", "learning_rates", "full_learning_rates")
        ),
        ({"dropouts": ["3.0"]}, r"lora\.dropout"),
    ],
)
def test_a_wrong_entry_is_explained(widgets, message):
    with pytest.raises(SettingError, match=message):
        forms.to_sweep(widgets, dataset="d", target="t")


def test_no_number_field_has_bounds_outside_which_streamlit_would_use_an_earlier_value():
    pages = Path(forms.__file__).parents[2].rglob("*.py")
    calls = [node for page in pages for node in ast.walk(ast.parse(page.read_text())) if isinstance(node, ast.Call)]
    fields = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "number_input"]
    assert len(fields) > 4
    assert not [
        ast.unparse(call)
        for call in fields
        if len(call.args) > 1 or {"min_value", "max_value"} & {k.arg for k in call.keywords}
    ]


@pytest.mark.parametrize(("tied", "alphas"), [(True, [4.0, 16.0]), (False, [99.0, 99.0])])
def test_a_tied_alpha_follows_each_rank_and_an_untied_one_does_not(tied, alphas):
    runs = forms.to_sweep({"ranks": [2, 8], "tied": tied, "alphas": ["99"]}, dataset="d", target="t").expand()
    assert [run.lora.effective_alpha for run in runs if run.strategy == "peft"] == alphas


@pytest.mark.parametrize("text", ["", "one", "1, -2", "0.5"])
def test_seeds_that_are_not_whole_numbers_are_explained(text):
    with pytest.raises(SettingError, match="write whole numbers"):
        forms.read_seeds(text)


def test_axes_without_a_rank_add_no_lora_runs():
    sweep = forms.to_sweep(
        {"ranks": [], "dropouts": ["0", ".1"], "learning_rates": ["1e-4", "2e-4"]}, dataset="d", target="t"
    )
    labels = ["Zero-shot", "Linear model", "Gradient boosting", "Constant", "Full fine-tuning"]
    assert [run.label for run in sweep.expand()] == labels


def test_devices_are_named_by_their_gpus():
    one, two = form_widgets.device_names(["H100"]), form_widgets.device_names(["H100", "T4"])
    assert one == {"auto": "auto: cuda:0 (H100)", "cpu": "cpu", "cuda:0": "cuda:0 (H100)"}
    assert (two["auto"], two["cuda:1"]) == ("auto: a free one of 2 GPUs", "cuda:1 (T4)")
    assert form_widgets.device_names([])["auto"] == "auto: cpu; no NVIDIA GPU found"


def seen(text):
    """Returns what a reader of the escaped text sees: CommonMark removes the backslashes."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", plain(text)).replace("\u200b", "")


@pytest.mark.parametrize(
    "text", [string.printable.strip(), "![x](http://x/y)", "a @ b, e@x.org", "10:30", "café: 5 µm"]
)
def test_text_is_shown_literally(text):
    assert seen(text) == re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("http://x.example/y", r"https?://"),
        ("WWW.x.example", r"www\."),
        ("me@x.example", r"\w@\w"),
        (":material/delete:", r":[a-z]"),
        (":red[x]", r":[a-z]"),
        (":+1: and :100:", r":[+1]"),
        ("a\n\n# b", r"\n"),
        ("\u202egnp.exe\u2066", "[\u202e\u2066]"),
    ],
)
def test_markup_that_appears_after_unescaping_is_broken_up(text, markup):
    assert not re.search(markup, plain(text).replace("\\", ""), re.IGNORECASE)


@pytest.mark.parametrize("score", [0.078213, 3.25, 62_506.94, 1_686_490.5])
def test_a_score_has_the_same_format_in_tables_and_sentences(score):
    values, digits = pd.Series([score, None]), METRICS["rmse"].decimals([score])
    form, shown = digits_behind(values, digits)["format"], rounded(values, digits)[0]
    written = f"{shown:,.{digits}f}" if form == "localized" else form % shown
    assert written == METRICS["rmse"].text(score)


@pytest.mark.parametrize("seed", range(20))
def test_a_column_of_numbers_of_any_size_shows_six_digits_of_each(seed):
    rng = np.random.default_rng(seed)
    values = pd.Series(rng.normal(size=30) * 10.0 ** rng.uniform(-9, 14, 30), name="mixed").round(rng.integers(1, 20))
    look = as_they_come(values)
    written = [f"{value:,.3f}" if look["format"] == "localized" else look["format"] % value for value in values]
    assert [float(text.replace(",", "")) for text in written] == pytest.approx(values.tolist(), rel=5e-6)


def test_large_numbers_have_commas_if_three_decimals_show_all():
    assert as_they_come(pd.Series([250_000.0, 0.125, None]))["format"] == "localized"
    assert as_they_come(pd.Series([250_000.0, 0.0003834, None]))["format"] == "%.10g"
    assert as_they_come(pd.Series([2.5, 0.0003834, None]))["format"] == "%.6g"


def test_absurd_durations_are_years():
    assert [duration(seconds) for seconds in (7800, 5e7)] == ["2 h 10 min", "1.6 years"]
    assert duration(7.5e17) == "23,766,065,860.5 years"
