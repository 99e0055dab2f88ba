"""Settings go into widgets and come back the same; what a person types wrongly is an error that helps."""

import dataclasses

import pytest

from dashboard.views.new_run import forms
from tabtune_core.errors import SettingError
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings

PLAIN = SweepSettings(run=RunSettings(dataset="d", target="t"))
NUMBERS = SweepSettings(run=RunSettings(dataset="d", target="t", task="regression", train=TrainSettings(selection_metric="r2")))


GRID = SweepSettings(
    run=RunSettings(dataset="d", target="t", lora=LoraSettings(alpha=4.0, dropout=0.0, targets=("decoder", "row_attention"))),
    ranks=(2, 4),
    alphas=(4.0, 1 / 3 + 4),
    dropouts=(0.0, 0.123456789),
    target_sets=(("decoder", "row_attention"), (), ("col_embedder",)),
    learning_rates=(1e-5, 2.00000001e-4),
    full_learning_rates=(1e-5,),
)
"""On every axis the run has the first value."""
GRID = dataclasses.replace(GRID, run=dataclasses.replace(GRID.run, train=TrainSettings(learning_rate=1e-5)))


@pytest.mark.parametrize("sweep", [PLAIN, NUMBERS, GRID], ids=["defaults", "numbers", "grid"])
def test_settings_survive_the_widgets(sweep):
    assert forms.to_sweep(forms.to_widgets(sweep), dataset="d", target="t", task=sweep.run.task) == sweep


def test_a_task_without_a_chosen_score_has_its_own():
    assert forms.to_sweep({}, dataset="d", target="t", task="regression").run.selection_metric == "rmse"


def test_the_split_that_was_chosen_is_asked_for():
    run = forms.to_sweep({}, dataset="d", target="t", split=("time", "day")).run
    assert (run.split_by, run.split_column) == ("time", "day")


@pytest.mark.parametrize("text", ["decoder", "decoder = many", "= "])
def test_a_pattern_that_cannot_be_read_is_explained(text):
    with pytest.raises(SettingError, match=r"write for example decoder=4"):
        forms.to_sweep({"rank_pattern": text}, dataset="d", target="t")


def test_a_tied_alpha_follows_each_rank():
    runs = forms.to_sweep({"ranks": [2, 8], "tied": True, "alphas": ["99"]}, dataset="d", target="t").expand()
    assert [run.lora.scaling for run in runs if run.strategy == "peft"] == [2.0, 2.0]


def test_an_untied_alpha_is_the_same_for_every_rank():
    runs = forms.to_sweep({"ranks": [2, 8], "tied": False, "alphas": ["16"]}, dataset="d", target="t").expand()
    assert [run.lora.effective_alpha for run in runs if run.strategy == "peft"] == [16.0, 16.0]


@pytest.mark.parametrize("text", ["", "one", "1, -2", "0.5"])
def test_seeds_that_are_no_whole_numbers_are_explained(text):
    with pytest.raises(SettingError, match="write whole numbers"):
        forms.read_seeds(text)


def test_a_value_out_of_range_from_the_address_bar_is_refused():
    with pytest.raises(SettingError, match=r"lora\.dropout"):
        forms.to_sweep({"dropouts": ["3.0"]}, dataset="d", target="t")


@pytest.mark.parametrize("name", ["dropouts", "alphas", "learning_rates", "full_learning_rates"])
def test_a_value_that_is_no_number_is_explained(name):
    with pytest.raises(SettingError, match="is 'a lot', which is not a number"):
        forms.to_sweep({name: ["a lot"], "tied": False}, dataset="d", target="t")


def test_axes_without_a_rank_ask_for_nothing():
    sweep = forms.to_sweep({"ranks": [], "dropouts": ["0", "0.1"], "learning_rates": ["1e-4", "2e-4"]}, dataset="d", target="t")
    assert [run.label for run in sweep.expand()] == ["Zero-shot", "Linear model", "Gradient boosting", "Full fine-tuning"]
