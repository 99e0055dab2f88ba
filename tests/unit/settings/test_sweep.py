"""Settings and sweeps: checked once, refused with the reason, written to TOML and read back."""

import contextlib
import dataclasses
import json
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.views.new_run import forms
from tabtune_core import TabularPipeline
from tabtune_core.errors import SettingError
from tabtune_core.models.catalogue import CATALOGUE, check_request, with_usual_rate
from tabtune_core.settings import (
    LEARNING_RATES,
    REFERENCES,
    TRAINED,
    LoraSettings,
    RunSettings,
    SweepSettings,
    TrainSettings,
    read_pattern,
)
from tabtune_core.settings.labels import distinct_labels
from tabtune_core.settings.sweep import _as_used
from tabtune_core.store.runs import RunStore

RUN = {"dataset": "d", "target": "y"}


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (LoraSettings, {"rank": 0}, "lora.rank is 0; it must be a whole number of at least 1"),
        (LoraSettings, {"rank": 2.5}, "lora.rank is 2.5"),
        (LoraSettings, {"rank": True}, "lora.rank is True"),
        (LoraSettings, {"alpha": 0}, "lora.alpha is 0; it must be above 0. With 0 the adapter would do nothing"),
        (LoraSettings, {"alpha": math.inf}, "lora.alpha is inf"),
        (LoraSettings, {"dropout": 1}, "lora.dropout is 1; it must be at least 0 and below 1"),
        (LoraSettings, {"dropout": -0.1}, "lora.dropout is -0.1"),
        (LoraSettings, {"bias": "some"}, "lora.bias is 'some'; it must be one of none, all, lora_only"),
        (
            LoraSettings,
            {"use_dora": True, "init_lora_weights": "pissa"},
            "are two variants of LoRA; choose one of them",
        ),
        (LoraSettings, {"use_dora": 1}, "lora.use_dora is 1; it must be true or false"),
        (
            LoraSettings,
            {"rank_pattern": {"decoder": 0}},
            "lora.rank_pattern.decoder is 0; it must be a whole number of at least 1",
        ),
        (LoraSettings, {"rank_pattern": {"decoder": 2.5}}, "lora.rank_pattern.decoder is 2.5"),
        (
            LoraSettings,
            {"rank_pattern": 4},
            "lora.rank_pattern is 4; it must give a number to each name, for example {'decoder': 4}",
        ),
        (LoraSettings, {"alpha_pattern": {"decoder": 0}}, "lora.alpha_pattern.decoder is 0; it must be above 0"),
        (LoraSettings, {"alpha_pattern": {"": 2}}, "lora.alpha_pattern is {'': 2}; it must give a number to each name"),
        (TrainSettings, {"learning_rate": 0}, "train.learning_rate is 0; it must be above 0"),
        (TrainSettings, {"learning_rate": -1e-4}, "train.learning_rate is -0.0001"),
        (TrainSettings, {"learning_rate": math.nan}, "train.learning_rate is nan"),
        (TrainSettings, {"learning_rate": 10**400}, "it must be above 0 and at most 1"),
        (LoraSettings, {"alpha": 10**400}, "it must be above 0"),
        (
            TrainSettings,
            {"epochs": 0},
            "train.epochs is 0; it must be a whole number of at least 1. For no training at all",
        ),
        (TrainSettings, {"steps": 0}, "train.steps is 0"),
        (
            TrainSettings,
            {"time_limit": 0},
            "train.time_limit is 0; it must be above 0. It is in seconds; leave it out for no limit.",
        ),
        (TrainSettings, {"time_limit": -5.0}, "train.time_limit is -5.0; it must be above 0"),
        (TrainSettings, {"time_limit": math.inf}, "train.time_limit is inf; it must be above 0"),
        (TrainSettings, {"time_limit": "60"}, "train.time_limit is '60'; it must be above 0"),
        (TrainSettings, {"betas": (0.9,)}, "train.betas has 1 value"),
        (TrainSettings, {"optimizer": "adagrad"}, "train.optimizer is 'adagrad'; it must be one of adamw, adam, sgd"),
        (TrainSettings, {"schedule": None}, "train.schedule is None; it must be one of cosine, linear, constant"),
        (
            TrainSettings,
            {"gradient_checkpointing": None},
            "train.gradient_checkpointing is None; it must be true or false",
        ),
        (TrainSettings, {"schedule": "step"}, "train.schedule is 'step'; it must be one of cosine, linear, constant"),
        (TrainSettings, {"amp": True}, "train.amp is True; it must be one of off, bf16, fp16"),
        (
            TrainSettings,
            {"optimizer": "sgd", "betas": (0.8, 0.9)},
            "train.betas changes nothing with the optimizer 'sgd'",
        ),
        (TrainSettings, {"optimizer": "sgd", "eps": 1e-6}, "train.eps changes nothing with the optimizer 'sgd'"),
        (TrainSettings, {"lr_ratio": 0}, "train.lr_ratio is 0; it must be above 0"),
        (
            TrainSettings,
            {"clip_norm": -1},
            "train.clip_norm is -1; it must be at least 0. 1 is usual, 0 is no clipping",
        ),
        (
            TrainSettings,
            {"patience": -1},
            "train.patience is -1; it must be a whole number of at least 0. 0 never stops early",
        ),
        (
            TrainSettings,
            {"episode_set": -1},
            "train.episode_set is -1; it must be a whole number of at least 0. 0 draws a fresh episode",
        ),
        (TrainSettings, {"gradient_checkpointing": 1}, "train.gradient_checkpointing is 1; it must be true or false"),
        (TrainSettings, {"selection_metric": "acc"}, "train.selection_metric is 'acc'; known are log_loss, accuracy"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_reason(section, values, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        section(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**RUN, "strategy": "lora"}, "strategy is 'lora'; it must be one of inference, base-ft, peft"),
        ({**RUN, "device": None}, "device is None; it must be text"),
        ({**RUN, "test_share": 0.9}, "test_share is 0.9"),
        (
            {**RUN, "strategy": "base-ft", "train": {"lr_ratio": 16}},
            "train.lr_ratio changes nothing with the strategy 'base-ft'",
        ),
        (
            {**RUN, "strategy": "inference", "train": {"rate_scales_with_rank": True}},
            "train.rate_scales_with_rank changes nothing",
        ),
        (
            {**RUN, "task": "regression", "train": {"class_weights": "balanced"}},
            "train.class_weights changes nothing for regression, which has no classes; leave it out.",
        ),
        ({**RUN, "split_by": "time"}, "split_by is 'time', which needs a column: name it as split_column"),
        ({**RUN, "split_column": "day"}, "split_column is 'day', which changes nothing with split_by 'random'"),
        ({**RUN, "split_by": "day"}, "split_by is 'day'; it must be one of random, time, group"),
        ({**RUN, "targt": "y"}, "Unknown setting 'targt'. Did you mean 'target'?"),
        ({**RUN, "lora": {"rnak": 2}}, "Unknown setting 'lora.rnak'. Did you mean 'lora.rank'?"),
        ({**RUN, "lora": 3}, "'lora' is 3; it must be a section of settings"),
        ({"dataset": "d"}, "Missing setting 'target'"),
        ({**RUN, "model": ["a"]}, "model is ['a']; it must be text"),
        ({**RUN, "checkpoint": 3}, "checkpoint is 3; it must be text"),
        ({**RUN, "split_at_median": "no"}, "split_at_median is 'no'; it must be true or false"),
        ({**RUN, "lora": {"targets": "row_interactor"}}, "lora.targets is 'row_interactor'; it must be a list"),
        ({**RUN, "lora": {"targets": [3]}}, "lora.targets is [3]; it must be a list of texts"),
        ({**RUN, "train": {"betas": 0.9}}, "train.betas is 0.9; it must be a list"),
        ({**RUN, "seed": 2**32}, "seed is 4294967296; it must be below 4294967296"),
    ],
)
def test_settings_that_cannot_form_a_run_are_refused_with_the_reason(values, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        RunSettings.from_dict(values)


def test_alpha_follows_the_rank_unless_it_is_set():
    assert [LoraSettings(rank=r).effective_alpha for r in (2, 8)] == [4, 16]
    assert LoraSettings(rank=8, alpha=4).scaling == 0.5
    assert LoraSettings(rank=16, alpha=4, use_rslora=True).scaling == 1.0


def test_the_rate_follows_the_strategy_unless_it_is_set():
    assert [RunSettings(**RUN, strategy=s).learning_rate for s in ("base-ft", "peft")] == [2e-5, 2e-4]
    assert RunSettings(**RUN, train=TrainSettings(learning_rate=1e-3)).learning_rate == 1e-3


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_entry_point_uses_the_models_own_rate_by_default_and_the_store_keeps_it(tmp_path, task):
    card, run = CATALOGUE["tabdpt-mini"], RunSettings(**RUN, model="tabdpt-mini", task=task)
    own = {strategy: card.usual_rate(task, strategy) for strategy in TRAINED}
    assert all(own[strategy] > LEARNING_RATES[strategy] for strategy in TRAINED), (
        "the model's own rates must differ from the defaults"
    )
    form, text = (
        forms.to_sweep({"model": card.name}, task=task, **RUN),
        SweepSettings.from_toml(SweepSettings(run=run).to_toml()),
    )
    store = RunStore(tmp_path)
    for sweep in (form, text):
        runs = [stored.settings for stored in store.runs(store.add_sweep(sweep.expand())[0])]
        assert {run.strategy: run.train.learning_rate for run in runs if run.strategy in TRAINED} == own
        again = [with_usual_rate(run) for run in SweepSettings.of(runs).expand()]
        assert [run.learning_rate for run in again] == [run.learning_rate for run in runs]
    for strategy in TRAINED:
        assert TabularPipeline(card.name, strategy, task=task).settings().train.learning_rate == own[strategy]
        guide = LEARNING_RATES[strategy]
        released, named = run.changed(model="tabicl-v2"), run.changed(checkpoint="mine.ckpt")
        assert {with_usual_rate(one.with_strategy(strategy)).train.learning_rate for one in (released, named)} == {
            guide
        }
    assert SweepSettings.of([run.with_strategy("base-ft").changed(learning_rate=3e-5)]).run.train.learning_rate is None


def test_adapter_settings_do_not_reach_the_baselines():
    runs = SweepSettings(
        run=RunSettings(**RUN, train=TrainSettings(lr_ratio=16, optimizer="adam")), ranks=(2,), references=False
    ).expand()
    assert [(run.strategy, run.train.lr_ratio) for run in runs] == [("inference", 1), ("peft", 16), ("base-ft", 1)]
    assert {run.train.optimizer for run in runs} == {"adam"}


def test_the_references_need_no_model_and_take_only_the_settings_of_the_split():
    train = TrainSettings(lr_ratio=16, views=4, test_rows=50, amp="bf16")
    runs = SweepSettings(run=RunSettings(**RUN, device="cuda", train=train), ranks=(2,), seeds=(0, 1)).expand()
    references = [run for run in runs if run.strategy in REFERENCES]
    labels = ("Linear model", "Gradient boosting", "Constant")
    assert [(run.seed, run.label, run.device) for run in references] == [
        (seed, label, "cpu") for seed in (0, 1) for label in labels
    ]
    assert {run.train.test_rows for run in references} == {50}
    for run in references:
        check_request(run)


def test_a_sweep_has_its_baselines_references_and_one_run_per_rank_for_each_seed():
    sweep = SweepSettings(run=RunSettings(**RUN, train=TrainSettings(learning_rate=3e-4)), ranks=(4, 2), seeds=(0, 1))
    runs = sweep.expand()
    labels = ("Zero-shot", "Linear model", "Gradient boosting", "Constant", "LoRA r=2", "LoRA r=4", "Full fine-tuning")
    assert [(run.seed, run.label) for run in runs] == [(seed, label) for seed in (0, 1) for label in labels]
    assert [r.learning_rate for r in runs[4:7]] == [3e-4, 3e-4, 2e-5], (
        "a rate set for LoRA does not apply to full fine-tuning"
    )


def test_toml_reads_back_what_it_wrote():
    patterns = {"rank_pattern": {"icl_predictor.decoder": 2, "attn": 4}, "alpha_pattern": {"attn": 0.5}}
    lora = LoraSettings(
        alpha=3, targets=("row_interactor",), bias="lora_only", use_rslora=True, use_dora=True, **patterns
    )
    sweep = SweepSettings(
        run=RunSettings(dataset="d", target='odd "name"\n', lora=lora, train=TrainSettings(steps=7)),
        ranks=(1, 64),
        full_fine_tuning=False,
    )
    assert SweepSettings.from_toml(sweep.to_toml()) == sweep
    assert RunSettings.from_dict(json.loads(json.dumps(sweep.run.to_dict()))) == sweep.run
    names = [*SweepSettings.from_toml(sweep.to_toml()).run.lora.rank_pattern]
    assert names == ["icl_predictor.decoder", "attn"], "the first pattern that fits is used"
    assert len({sweep.run, RunSettings.from_dict(sweep.run.to_dict())}) == 1


@pytest.mark.parametrize("text", ["decoder", "decoder=four", "decoder=2.5", "decoder="])
def test_a_pattern_that_cannot_be_read_says_how_to_write_it(text):
    assert read_pattern([" decoder = 4", "a.b=2"], int) == {"decoder": 4, "a.b": 2}
    with pytest.raises(SettingError, match=f"'{text}' is not a layer with its number; write for example decoder=4"):
        read_pattern([text], int)


def test_invalid_toml_is_refused_with_its_line():
    with pytest.raises(SettingError, match="The settings cannot be read as TOML: .*line 1"):
        SweepSettings.from_toml("ranks = = 1")


def test_an_axis_with_too_many_values_is_refused_before_its_values_are_checked():
    with pytest.raises(SettingError, match="ranks has 100,000 values; at most 1,000"):
        SweepSettings(run=RunSettings(dataset="d", target="y"), ranks=(0,) * 100_000)


@pytest.mark.parametrize(
    ("strategy", "lora", "train", "label"),
    [
        ("peft", {}, {}, "LoRA r=8"),
        ("peft", {"use_dora": True, "bias": "all"}, {"lr_ratio": 16.0}, "LoRA r=8 (DoRA, bias all, LoRA+ 16)"),
        ("peft", {"init_lora_weights": "pissa"}, {}, "LoRA r=8 (PiSSA)"),
        ("base-ft", {"use_dora": True}, {"optimizer": "sgd", "views": 4}, "Full fine-tuning (ensemble of 4, sgd)"),
        ("inference", {}, {"optimizer": "sgd", "views": 4}, "Zero-shot (ensemble of 4)"),
        ("boosting", {}, {"optimizer": "sgd", "views": 4}, "Gradient boosting"),
    ],
)
def test_a_label_names_the_unusual_settings_that_matter_to_the_strategy(strategy, lora, train, label):
    assert RunSettings(**RUN, strategy=strategy, lora=LoraSettings(**lora), train=TrainSettings(**train)).label == label


def test_a_grid_has_a_run_for_every_point_and_the_baselines_once_per_seed():
    sweep = SweepSettings(
        run=RunSettings(**RUN),
        ranks=(2, 4),
        alphas=(4, 8),
        dropouts=(0, 0.1),
        target_sets=((), ("decoder",)),
        learning_rates=(1e-4, 2e-4),
        full_learning_rates=(1e-5, 2e-5),
        seeds=(0, 1),
    )
    runs = sweep.expand()
    assert len(runs) == sweep.size == 2 * (2**5 + 1 + 2 + 3)
    points = {
        (r.seed, r.lora.rank, r.lora.alpha, r.lora.dropout, r.lora.targets, r.learning_rate)
        for r in runs
        if r.strategy == "peft"
    }
    assert len(points) == 2 * 2**5
    assert [r.learning_rate for r in runs if r.strategy == "base-ft"] == [1e-5, 2e-5] * 2
    assert len(set(distinct_labels(runs))) == len(runs)


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ({}, "3 ranks + 2 baselines + 3 references"),
        ({"dropouts": (0, 0.1), "seeds": (0, 1, 2)}, "3 ranks x 2 dropouts + 2 baselines + 3 references, x 3 seeds"),
        (
            {"ranks": (8,), "target_sets": ((), ("decoder",)), "full_fine_tuning": False},
            "1 rank x 2 sets of target modules + 1 baseline + 3 references",
        ),
        (
            {
                "ranks": (8,),
                "learning_rates": (1e-4,),
                "zero_shot": False,
                "full_fine_tuning": False,
                "references": False,
            },
            "1 rank",
        ),
        ({"ranks": (), "full_learning_rates": (1e-5, 2e-5)}, "zero-shot + 2 rates of full fine-tuning + 3 references"),
    ],
)
def test_a_sweep_explains_its_number_of_runs(axes, told):
    assert SweepSettings(run=RunSettings(**RUN), **axes).formula == told


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        ({"ranks": (2, 8)}, ["LoRA r=2", "LoRA r=8"]),
        ({"ranks": (8,), "dropouts": (0, 0.1)}, ["LoRA r=8, dropout 0", "LoRA r=8, dropout 0.1"]),
        ({"ranks": (8,), "alphas": (8, 16)}, ["LoRA r=8, alpha 8", "LoRA r=8, alpha 16"]),
        ({"ranks": (8,), "learning_rates": (2e-4, 1e-3)}, ["LoRA r=8, rate 2e-4", "LoRA r=8, rate 1e-3"]),
        (
            {"ranks": (8,), "target_sets": ((), ("a", "b"), tuple(f"blocks.{i}" for i in range(9)))},
            ["LoRA r=8, targets default", "LoRA r=8, targets a+b", "LoRA r=8, targets blocks.0 and 8 more"],
        ),
    ],
)
def test_the_names_of_a_sweep_say_only_what_differs(axes, names):
    sweep = SweepSettings(run=RunSettings(**RUN), zero_shot=False, full_fine_tuning=False, references=False, **axes)
    assert distinct_labels(sweep.expand()) == names
    seeds = distinct_labels(dataclasses.replace(sweep, seeds=(0, 1)).expand())
    assert seeds == [f"{name} seed {seed}" for seed in (0, 1) for name in names]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"dropouts": (0.1, 0.1)}, "dropouts [0.1, 0.1] contain a value twice"),
        ({"dropouts": (2,)}, "lora.dropout is 2"),
        ({"alphas": ([1],)}, "lora.alpha is [1]"),
        ({"learning_rates": (0,)}, "train.learning_rate is 0"),
        ({"seeds": ("a",)}, "seeds is 'a'"),
        ({"target_sets": ("decoder",)}, "it must be a list of lists of texts, for example [['decoder'], []]"),
        ({"ranks": (), "dropouts": (0, 0.1)}, "dropouts [0, 0.1] change nothing without a LoRA rank"),
        (
            {"full_fine_tuning": False, "full_learning_rates": (1e-5,)},
            "full_learning_rates [1e-05] change nothing without full",
        ),
        (
            {"seeds": tuple(range(201))},
            "The sweep has 1,608 runs (3 ranks + 2 baselines + 3 references, x 201 seeds); at most 1,000 go into one",
        ),
    ],
)
def test_an_invalid_grid_is_refused_with_the_reason(axes, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        SweepSettings(run=RunSettings(**RUN), **axes)


@pytest.mark.parametrize("strategy", ["inference", "base-ft", "linear", "boosting"])
def test_a_run_can_change_strategy_and_drops_settings_of_lora_alone(strategy):
    run = RunSettings(dataset="d", target="y", train=TrainSettings(lr_ratio=4.0, rate_scales_with_rank=True, steps=7))
    other = run.with_strategy(strategy)
    assert (other.strategy, other.train) == (strategy, TrainSettings(steps=7))
    assert other.with_strategy("peft").lora == run.lora


def test_toml_states_each_setting_once():
    train = TrainSettings(steps=50, epochs=7, warmup_steps=3, optimizer="sgd", learning_rate=1e-3)
    run = RunSettings(dataset="d", target="y", seed=4, train=train, lora=LoraSettings(rank=3, dropout=0.3, alpha=5.0))
    sweep = SweepSettings(
        run=run, ranks=(2, 4), seeds=(1, 2), alphas=(4.0, 8.0), dropouts=(0.0, 0.1), learning_rates=(1e-4, 2e-4)
    )
    names = [line.split(" = ")[0] for line in sweep.to_toml().splitlines() if " = " in line]
    assert {"ranks", "steps", "warmup_steps", "alphas", "dropouts", "learning_rates", "seeds"} <= set(names)
    assert not {
        "rank",
        "epochs",
        "warmup_ratio",
        "alpha",
        "dropout",
        "learning_rate",
        "seed",
        "strategy",
        "betas",
        "eps",
    } & set(names)
    again = SweepSettings.from_toml(sweep.to_toml())
    assert [_without_replaced(one) for one in again.expand()] == [_without_replaced(one) for one in sweep.expand()]


def _without_replaced(run):
    train = dataclasses.replace(run.train, epochs=30, warmup_ratio=0.1)
    lora = run.lora if run.strategy == "peft" else LoraSettings()
    return dataclasses.replace(
        run, lora=lora, train=dataclasses.replace(train, learning_rate=None) if run.strategy != "peft" else train
    )


@pytest.mark.parametrize("value", [[0] * 5_000, "x" * 50_000])
def test_a_very_long_value_is_refused_in_a_short_sentence_with_the_way_out(value):
    with pytest.raises(SettingError) as found:
        LoraSettings(rank=value)
    assert len(str(found.value)) < 1_100
    assert str(found.value).startswith("lora.rank is ") and "it must be a whole number of at least 1" in str(
        found.value
    )


def axis(values):
    return st.lists(st.sampled_from(values), unique=True, max_size=3).map(tuple)


@st.composite
def sweeps(draw):
    """Draws a valid sweep, also with unusual settings."""
    lora = LoraSettings(rank=draw(st.sampled_from((2, 8))), alpha=draw(st.sampled_from((None, 16.0, 4.0))))
    train = TrainSettings(learning_rate=draw(st.sampled_from((None, 2e-4, 1e-3))), epochs=draw(st.sampled_from((1, 3))))
    ranks = draw(axis((2, 4, 8)))
    named = {"alphas": (8.0, 16.0), "dropouts": (0.0, 0.1), "target_sets": ((), ("a",)), "learning_rates": (2e-4, 1e-3)}
    axes = {name: draw(axis(values)) for name, values in named.items()} if ranks else {}
    full = draw(st.booleans())
    return SweepSettings(
        run=RunSettings(**RUN, lora=lora, train=train),
        ranks=ranks,
        **axes,
        full_learning_rates=draw(axis((2e-5, 1e-4))) if full else (),
        zero_shot=draw(st.booleans()) or not (ranks or full),
        full_fine_tuning=full,
        references=draw(st.booleans()),
        seeds=draw(st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=2).map(tuple)),
    )


@settings(deadline=None, max_examples=60)
@given(sweeps())
def test_a_sweep_can_be_rebuilt_from_its_runs(sweep):
    runs = sweep.expand()
    again = SweepSettings.of(runs).expand()
    assert sorted(map(repr, map(_as_used, again))) == sorted(map(repr, map(_as_used, runs)))


@settings(deadline=None, max_examples=60)
@given(sweeps(), sweeps(), st.data())
def test_a_sweep_built_from_some_runs_holds_all_of_them_or_is_refused(one, other, data):
    runs = data.draw(st.lists(st.sampled_from([*one.expand(), *other.expand()]), unique=True, min_size=1))
    with contextlib.suppress(SettingError):
        held = set(map(_as_used, SweepSettings.of(runs).expand()))
        assert all(_as_used(run) in held for run in runs)


def test_runs_that_no_grid_can_hold_are_refused_and_a_tied_alpha_keeps_its_value():
    runs = [RunSettings(**RUN, lora=LoraSettings(rank=4, alpha=alpha)) for alpha in (None, 16)]
    assert [run.lora.effective_alpha for run in SweepSettings.of(runs).expand()] == [8, 16]
    apart = [dataclasses.replace(run, train=TrainSettings(batch_size=k)) for k, run in enumerate(runs, start=100)]
    with pytest.raises(SettingError, match="One sweep cannot hold these runs: 1 of 2 differ in what it cannot list"):
        SweepSettings.of(apart)
