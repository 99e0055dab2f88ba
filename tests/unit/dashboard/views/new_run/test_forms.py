"""Settings go into widgets and come back the same; what a person types wrongly is an error that helps."""

import dataclasses

import pytest

from dashboard.views.new_run import forms, typed_values
from tabtune_core.errors import SettingError
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings

UNUSUAL = SweepSettings(
    run=RunSettings(
        dataset="d",
        target="t",
        model="tabicl-v2",
        checkpoint="weights.ckpt",
        device="cpu",
        validation_share=0.3,
        split_seed=3,
        test_share=0.1,
        lora=LoraSettings(
            alpha=3.5,
            dropout=0.2,
            targets=("decoder",),
            bias="lora_only",
            use_rslora=True,
            use_dora=True,
            rank_pattern={"icl_predictor.decoder": 2, "linear1": 4},
            alpha_pattern={"linear1": 0.5},
        ),
        train=TrainSettings(
            steps=17,
            learning_rate=3e-4,
            batch_size=64,
            context_rows=512,
            predict_context_rows=4096,
            weight_decay=0.02,
            betas=(0.8, 0.99),
            eps=1e-7,
            warmup_ratio=0.2,
            warmup_steps=3,
            clip_norm=2.0,
            eval_every=3,
            patience=4,
            selection_metric="accuracy",
            optimizer="adam",
            schedule="linear",
            amp="bf16",
            gradient_checkpointing=True,
            cuda_graph=True,
            lr_ratio=4.0,
            rate_scales_with_rank=True,
            episode_set=6,
            class_weights="balanced",
            time_limit=90.0,
        ),
    ),
    ranks=(1, 3, 16),
    zero_shot=False,
    full_fine_tuning=False,
    references=False,
    seeds=(0, 7),
)
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


@pytest.mark.parametrize("sweep", [PLAIN, UNUSUAL, NUMBERS, GRID], ids=["defaults", "unusual", "numbers", "grid"])
def test_settings_survive_the_widgets(sweep):
    assert forms.to_sweep(forms.to_widgets(sweep), dataset="d", target="t", task=sweep.run.task) == sweep


def test_a_task_without_a_chosen_score_has_its_own():
    assert forms.to_sweep({}, dataset="d", target="t", task="regression").run.selection_metric == "rmse"


def test_what_sgd_has_no_use_for_is_left_at_its_default():
    assert forms.to_sweep({"optimizer": "sgd", "beta_1": 0.5, "eps": 1.0}, dataset="d", target="t").run.train.betas == (0.9, 0.999)


def test_the_split_that_was_chosen_is_asked_for():
    run = forms.to_sweep({}, dataset="d", target="t", split=("time", "day")).run
    assert (run.split_by, run.split_column) == ("time", "day")


def test_test_rows_that_move_have_no_seed_of_their_own():
    run = forms.to_sweep({"test_rows_move": True, "split_seed": 5}, dataset="d", target="t").run
    assert (run.test_rows_move, run.split_seed) == (True, 0)


def test_numbers_have_no_classes_to_weigh():
    assert forms.to_sweep({"class_weights": "balanced"}, dataset="d", target="t", task="regression").run.train.class_weights == "none"


@pytest.mark.parametrize("text", ["decoder", "decoder = many", "= "])
def test_a_pattern_that_cannot_be_read_is_explained(text):
    with pytest.raises(SettingError, match=r"write for example decoder=4"):
        forms.to_sweep({"rank_pattern": text}, dataset="d", target="t")


def test_every_setting_has_a_widget():
    """A new field that no widget shows would be lost silently when settings are loaded."""
    shown = set(forms.to_widgets(PLAIN)) | {
        "dataset",
        "target",
        *("split_by", "split_column"),  # a choice that the Data page asks for too
        "split_at_median",
        "task",
        "lora",
        "train",
        "strategy",
        "seed",
        "run",
        "rank",
        "betas",
        *("alpha", "dropout", "learning_rate"),  # the single value of an axis
    }
    fields = {f.name for cls in (SweepSettings, RunSettings, LoraSettings, TrainSettings) for f in dataclasses.fields(cls)}
    assert fields <= shown


def test_a_tied_alpha_follows_each_rank():
    runs = forms.to_sweep({"ranks": [2, 8], "tied": True, "alphas": ["99"]}, dataset="d", target="t").expand()
    assert [run.lora.scaling for run in runs if run.strategy == "peft"] == [2.0, 2.0]


def test_an_untied_alpha_is_the_same_for_every_rank():
    runs = forms.to_sweep({"ranks": [2, 8], "tied": False, "alphas": ["16"]}, dataset="d", target="t").expand()
    assert [run.lora.effective_alpha for run in runs if run.strategy == "peft"] == [16.0, 16.0]


@pytest.mark.parametrize("text", ["", "one", "1, -2", "0.5"])
def test_seeds_that_are_no_whole_numbers_are_explained(text):
    with pytest.raises(SettingError, match="write whole numbers"):
        typed_values.read_seeds(text)


def test_a_value_out_of_range_from_the_address_bar_is_refused():
    with pytest.raises(SettingError, match=r"lora\.dropout"):
        forms.to_sweep({"dropouts": ["3.0"]}, dataset="d", target="t")


@pytest.mark.parametrize("name", ["dropouts", "alphas", "learning_rates", "full_learning_rates"])
def test_a_value_that_is_no_number_is_explained(name):
    with pytest.raises(SettingError, match="is 'a lot', which is no number"):
        forms.to_sweep({name: ["a lot"], "tied": False}, dataset="d", target="t")


def test_axes_without_a_rank_ask_for_nothing():
    sweep = forms.to_sweep({"ranks": [], "dropouts": ["0", "0.1"], "learning_rates": ["1e-4", "2e-4"]}, dataset="d", target="t")
    assert [run.label for run in sweep.expand()] == ["Zero-shot", "Linear model", "Gradient boosting", "Full fine-tuning"]
