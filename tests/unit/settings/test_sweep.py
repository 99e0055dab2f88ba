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


REFUSED = [
    ("lora", "rank", 0, "is 0; it must be a whole number of at least 1. Start with 8."),
    ("lora", "rank", 2.5, "is 2.5"),
    ("lora", "rank", True, "is True"),
    ("lora", "alpha", 0, "is 0; it must be above 0. With 0 the adapter would do nothing"),
    ("lora", "dropout", 1, "is 1; it must be at least 0 and below 1"),
    ("lora", "bias", "some", "is 'some'; it must be one of none, all, lora_only"),
    ("lora", "use_dora", 1, "is 1; it must be true or false"),
    ("lora", "rank_pattern", {"decoder": 2.5}, ".decoder is 2.5; it must be a whole number of at least 1"),
    ("lora", "rank_pattern", 4, "is 4; it must give a number to each name, for example {'decoder': 4}"),
    ("lora", "alpha_pattern", {"": 2}, "is {'': 2}; it must give a number to each name"),
    ("lora", "targets", "row_interactor", "is 'row_interactor'; it must be a list"),
    ("train", "learning_rate", math.nan, "is nan"),
    ("train", "learning_rate", 10**400, "it must be above 0 and at most 1"),
    ("train", "epochs", 0, "is 0; it must be a whole number of at least 1. For no training at all"),
    ("train", "time_limit", "60", "is '60'; it must be above 0. It is in seconds; leave it out for no limit."),
    ("train", "betas", (0.9,), "has 1 value"),
    ("train", "selection_metric", "acc", "is 'acc'; known are log_loss, accuracy"),
    ("", "strategy", "lora", "is 'lora'; it must be one of inference, base-ft, peft"),
    ("", "device", None, "is None; it must be text"),
    ("", "split_by", "time", "is 'time', which needs a column: name it as split_column"),
    ("", "split_column", "day", "is 'day', which changes nothing with split_by 'random'"),
    ("", "seed", 2**32, "is 4294967296; it must be below 4294967296"),
]


@pytest.mark.parametrize(("section", "name", "value", "message"), REFUSED)
def test_a_value_out_of_range_is_refused_with_the_reason(section, name, value, message):
    written = {section: {name: value}} if section else {name: value}
    with pytest.raises(
        SettingError, match=re.escape(f"{section}.{name}{' ' * (message[0] != '.')}".lstrip("."))
    ) as refused:
        RunSettings.from_dict({**RUN, **written})
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "base-ft", "train": {"lr_ratio": 16}}, "train.lr_ratio changes nothing with the strategy 'base"),
        (
            {"task": "regression", "train": {"class_weights": "balanced"}},
            "train.class_weights changes nothing for regression, which has no classes; leave it out.",
        ),
        ({"train": {"optimizer": "sgd", "eps": 1e-6}}, "train.eps changes nothing with the optimizer 'sgd'"),
        ({"lora": {"use_dora": True, "init_lora_weights": "pissa"}}, "are two variants of LoRA; choose one of them"),
        ({"targt": "y"}, "Unknown setting 'targt'. Did you mean 'target'?"),
        ({"lora": {"rnak": 2}}, "Unknown setting 'lora.rnak'. Did you mean 'lora.rank'?"),
        ({"lora": 3}, "'lora' is 3; it must be a section of settings"),
    ],
)
def test_settings_that_cannot_form_a_run_are_refused_with_the_reason(values, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        RunSettings.from_dict({**RUN, **values})


def test_alpha_follows_the_rank_and_the_rate_the_strategy_unless_they_are_set():
    assert [LoraSettings(rank=r).effective_alpha for r in (2, 8)] == [4, 16]
    assert LoraSettings(rank=8, alpha=4).scaling == 0.5
    assert LoraSettings(rank=16, alpha=4, use_rslora=True).scaling == 1.0
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
        assert {with_usual_rate(of.with_strategy(strategy)).train.learning_rate for of in (released, named)} == {guide}
    assert SweepSettings.of([run.with_strategy("base-ft").changed(learning_rate=3e-5)]).run.train.learning_rate is None


def test_a_sweep_has_its_baselines_references_and_one_run_per_rank_for_each_seed():
    train = TrainSettings(learning_rate=3e-4, lr_ratio=16, optimizer="adam", views=4, test_rows=50, amp="bf16")
    runs = SweepSettings(run=RunSettings(**RUN, device="cuda", train=train), ranks=(4, 2), seeds=(0, 1)).expand()
    names = ("Zero-shot", "Linear model", "Gradient boosting", "Constant", "LoRA r=2", "LoRA r=4", "Full fine-tuning")
    assert [(run.seed, run.label.split(" (")[0]) for run in runs] == [(seed, name) for seed in (0, 1) for name in names]
    assert [run.learning_rate for run in runs[4:7]] == [3e-4, 3e-4, 2e-5], "a rate set for LoRA is LoRA's alone"
    assert [run.train.lr_ratio for run in runs[4:7]] == [16, 16, 1]
    references = [run for run in runs if run.strategy in REFERENCES]
    assert {(run.device, run.train.test_rows) for run in references} == {("cpu", 50)}
    for run in references:
        check_request(run)


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


def test_text_that_cannot_be_read_says_how_to_write_it():
    assert read_pattern([" decoder = 4", "a.b=2"], int) == {"decoder": 4, "a.b": 2}
    with pytest.raises(SettingError, match="'decoder=2.5' is not a layer with its number; write for example decoder=4"):
        read_pattern(["decoder=2.5"], int)
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
    axes = {"ranks": (2, 4), "alphas": (4, 8), "dropouts": (0, 0.1), "target_sets": ((), ("decoder",))}
    axes |= {"learning_rates": (1e-4, 2e-4), "full_learning_rates": (1e-5, 2e-5), "seeds": (0, 1)}
    sweep = SweepSettings(run=RunSettings(**RUN), **axes)
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
    ("axes", "formula"),
    [
        ({}, "3 ranks + 2 baselines + 3 references"),
        ({"dropouts": (0, 0.1), "seeds": (0, 1, 2)}, "3 ranks x 2 dropouts + 2 baselines + 3 references, x 3 seeds"),
        (
            {"ranks": (8,), "target_sets": ((), ("decoder",))},
            "1 rank x 2 sets of target modules + 2 baselines + 3 references",
        ),
        ({"ranks": (), "full_learning_rates": (1e-5, 2e-5)}, "zero-shot + 2 rates of full fine-tuning + 3 references"),
    ],
)
def test_a_sweep_explains_its_number_of_runs(axes, formula):
    assert SweepSettings(run=RunSettings(**RUN), **axes).formula == formula


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
        ({"full_fine_tuning": False, "full_learning_rates": (1e-5,)}, "[1e-05] change nothing without full"),
        ({"seeds": tuple(range(201))}, "1,608 runs (3 ranks + 2 baselines + 3 references, x 201 seeds); at most 1,000"),
    ],
)
def test_an_invalid_grid_is_refused_with_the_reason(axes, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        SweepSettings(run=RunSettings(**RUN), **axes)


@pytest.mark.parametrize("strategy", ["inference", "base-ft", "linear", "boosting"])
def test_a_run_can_change_strategy_and_drops_settings_of_lora_alone(strategy):
    run = RunSettings(dataset="d", target="y", train=TrainSettings(lr_ratio=4.0, steps=7))
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
    assert not {"rank", "epochs", "warmup_ratio", "alpha", "dropout", "learning_rate", "seed"} & set(names)
    assert not {"strategy", "betas", "eps"} & set(names)
    again = SweepSettings.from_toml(sweep.to_toml())
    assert [_without_replaced(one) for one in again.expand()] == [_without_replaced(one) for one in sweep.expand()]


def _without_replaced(run):
    train = dataclasses.replace(run.train, epochs=30, warmup_ratio=0.1)
    lora = run.lora if run.strategy == "peft" else LoraSettings()
    return dataclasses.replace(
        run, lora=lora, train=dataclasses.replace(train, learning_rate=None) if run.strategy != "peft" else train
    )


def test_a_very_long_value_is_refused_in_a_short_sentence_with_the_way_out():
    with pytest.raises(SettingError) as refused:
        LoraSettings(rank=[0] * 5_000)
    text = str(refused.value)
    assert len(text) < 1_100 and text.startswith("lora.rank is ") and "a whole number of at least 1" in text


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
    of_other_sizes = [dataclasses.replace(run, train=TrainSettings(batch_size=k)) for k, run in enumerate(runs, 100)]
    with pytest.raises(SettingError, match="One sweep cannot hold these runs: 1 of 2 differ in what it cannot list"):
        SweepSettings.of(of_other_sizes)
