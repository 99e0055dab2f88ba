"""The guide's warnings appear where they apply and nowhere else."""

import pytest

from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.settings.advice import advise

GUIDE = {"peft": 2e-4, "base-ft": 2e-5}
STARTS = {
    "Rank 1 ": "ranks",
    "At rank ": "ranks",
    "569 rows ": "dropouts",
    "LoRA has the learning rate": "learning_rates",
    "The model has": "model",
    "No warm-up": "warmup_ratio",
    "Class weights": "class_weights",
    "No gradient clipping": "clip_norm",
}
"""By the start of a warning: the setting that it is about."""
LARGE = {
    "usual_rates": GUIDE,
    "rows": 200_000,
    "model_parameters": 27_000_000,
    "adapted_weights": 20_000_000,
    "adapter_parameters": 400_000,
}


def warned(*, lora=None, train=None, axes=None, **facts):
    run = RunSettings(dataset="d", target="t", lora=LoraSettings(**(lora or {})), train=TrainSettings(**(train or {})))
    found = advise(SweepSettings(run=run, **(axes or {})), **{**LARGE, **facts})
    return [next(knob for start, knob in STARTS.items() if warning.startswith(start)) for warning in found]


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ([], {}),
        (["ranks"], {"axes": {"ranks": (1, 4)}}),
        (["dropouts"], {"rows": 569, "lora": {"dropout": 0}}),
        (["dropouts"], {"rows": 569, "axes": {"dropouts": (0.0, 0.1)}}),
        ([], {"rows": 569}),
        ([], {"lora": {"dropout": 0}}),
        (["learning_rates"], {"train": {"learning_rate": 2e-5}}),
        (["learning_rates"], {"axes": {"learning_rates": (1e-5, 2e-4)}}),
        (["learning_rates"], {"axes": {"full_learning_rates": (2e-4,)}}),
        ([], {"train": {"learning_rate": 2e-5}, "axes": {"full_fine_tuning": False}}),
        (["learning_rates"], {"usual_rates": {**GUIDE, "base-ft": 2e-4}}),
        (["ranks"], {"adapter_parameters": 20_000_000}),
        (["model"], {"model_parameters": 677_310}),
        (["warmup_ratio"], {"train": {"warmup_ratio": 0}}),
        (["warmup_ratio"], {"train": {"warmup_steps": 0}}),
        ([], {"train": {"warmup_ratio": 0, "warmup_steps": 5}}),
        (["class_weights"], {"train": {"class_weights": "balanced"}}),
        ([], {"train": {"class_weights": "balanced", "selection_metric": "balanced_accuracy"}}),
        (["clip_norm"], {"train": {"clip_norm": 0}}),
    ],
)
def test_a_warning_appears_where_it_applies(said, asked):
    assert warned(**asked) == said


def test_a_warning_states_the_facts_with_their_numbers():
    run = RunSettings(dataset="d", target="t", lora=LoraSettings(dropout=0))
    (found,) = advise(SweepSettings(run=run), **{**LARGE, "rows": 569})
    assert found.startswith("569 rows without dropout") and found.endswith("or compare both.")


def test_a_sweep_of_only_baselines_gets_no_warning_about_adapters():
    told = warned(
        axes={"ranks": ()},
        rows=569,
        model_parameters=677_310,
        adapted_weights=0,
        adapter_parameters=0,
        lora={"dropout": 0},
    )
    assert told == []
