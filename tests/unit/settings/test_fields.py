"""Each setting of the table, in every text and form generated from it; the guide's values and warnings."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args, get_origin

import pytest

from dashboard.views.new_run import form_widgets, forms
from tabtune_core.api.tuning_params import ARGUMENTS, read_params, write_params
from tabtune_core.cli.arguments import given
from tabtune_core.cli.main import _parser
from tabtune_core.errors import SettingError
from tabtune_core.models.catalogue import with_usual_rate
from tabtune_core.settings import AXES, LORA, SETTINGS, LoraSettings, RunSettings, SweepSettings, TrainSettings, rows_of
from tabtune_core.settings.advice import PRESETS, WHY, advise, proposed
from tabtune_core.settings.fields import setting

PLAIN = RunSettings(dataset="d", target="y")
TEXTS = {"device": "cpu", "model": "tabdpt-mini", "checkpoint": "w.ckpt"}
TEXTS |= {"selection_metric": "accuracy", "split_column": "day"}
TOGETHER = {"split_by": {"split_column": "day"}, "split_column": {"split_by": "group"}}
"""What some settings require."""
OF_TABLE = ("dataset", "target", "task", "split_by", "split_column", "split_at_median", "strategy")
"""Settings that are not chosen in the form."""
AS_LISTS = ("seed", *(axis.axis for axis in AXES.values()))
"""Settings for which a sweep lists values."""


def another(row):
    """Returns a value that is not the default."""
    origin, of = get_origin(row.kind), get_args(row.kind)
    if row.kind is bool:
        return not row.default
    if origin is Literal:
        return next(value for value in of if value != row.default)
    if origin is Mapping:
        return {"decoder": 4, "a.b": 2}
    if origin is tuple:
        return (0.5, 0.25) if of == (float, float) else ("decoder", "row_attention")
    if row.kind is str:
        return TEXTS[row.name]
    if row.kind is int:
        return max(row.low, row.default or 0) + 1
    return ((row.low or row.above or 0) + (row.high or row.below or 9)) / 2 + 0.0625


NAMES = [name for name in SETTINGS if name not in ("dataset", "target")]


def changed(name):
    """Returns a run with another value of one setting, and of any setting that would make it idle."""
    idle = SETTINGS[name].idle
    decides = {idle.other: another(SETTINGS[idle.other])} if idle and PLAIN.value(idle.other) == idle.value else {}
    return PLAIN.changed(**decides | TOGETHER.get(name, {}) | {name: another(SETTINGS[name])})


def words(row, value):
    """Returns a setting as typed on the command line."""
    if isinstance(value, dict):
        value = ",".join(f"{part}={number}" for part, number in value.items())
    elif isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return ["--set", f"{row.path}={value}"]


@pytest.mark.parametrize("name", NAMES)
def test_toml_and_stored_settings_keep_the_value(name):
    run = changed(name)
    assert not run.is_usual(name)
    assert RunSettings.from_dict(run.to_dict()) == run
    sweep = SweepSettings(run=run)
    again = SweepSettings.from_toml(sweep.to_toml())
    made, same = ([one for one in of.expand() if one.strategy == "peft"] for of in (sweep, again))
    assert made[-1] == same[-1]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_sets_the_setting(name):
    run = changed(name)
    flags = [word for each in NAMES if not run.is_usual(each) for word in words(SETTINGS[each], run.value(each))]
    asked = _parser().parse_args(["train", "data.csv", *flags])
    assert RunSettings.from_dict({"dataset": "d", "target": "y"} | given(asked, {})) == run


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_TABLE])
def test_the_form_shows_the_setting(name):
    run = changed(name)
    widgets = forms.to_widgets(SweepSettings(run=run, ranks=(run.lora.rank,), seeds=(run.seed,)))
    assert widgets != forms.to_widgets(SweepSettings(run=PLAIN, ranks=(PLAIN.lora.rank,)))
    assert run in forms.to_sweep(widgets, dataset="d", target="y").expand()


def test_each_part_of_the_form_is_drawn():
    assert {row.place for row in forms.FORM.values()} - {""} == {"Training", *form_widgets.TABS}
    assert set(AS_LISTS) | set(forms.FORM) | set(OF_TABLE) >= set(NAMES)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_a_pipeline_takes_the_value_and_returns_it(argument):
    run = with_usual_rate(changed(ARGUMENTS[argument].name))
    params = write_params(run)["tuning_params"]
    assert argument.split(".")[0] in params
    assert read_params(run.model, run.strategy, params, run.task).changed(dataset="d", target="y") == run


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row.idle])
def test_a_setting_without_effect_is_refused_and_the_form_leaves_it_out(name):
    row = SETTINGS[name]
    with pytest.raises(SettingError, match=f"^{row.path} changes nothing "):
        PLAIN.changed(**{name: another(row), row.idle.other: row.idle.value})
    values = forms.to_widgets(SweepSettings(run=changed(name))) | {row.idle.other: row.idle.value}
    values.pop("selection_metric")
    assert forms.to_sweep(values, dataset="d", target="y", task=values.pop("task", "classification")).run.is_usual(name)


def test_every_setting_has_a_help_text_and_a_unique_name():
    owners = RunSettings, LoraSettings, TrainSettings
    assert all(len(row.help) > 15 for owner in (*owners, SweepSettings) for row in rows_of(owner))
    assert len(SETTINGS) == sum(len(rows_of(owner)) for owner in owners)


def test_a_misspelt_fact_of_a_setting_is_refused():
    made = dataclasses.make_dataclass("Odd", [("a", int, setting(1, "A", lwo=2))])
    with pytest.raises(TypeError, match="lwo"):
        rows_of(made)


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row.written and row.strategies != LORA])
def test_the_label_of_a_run_shows_the_value(name):
    assert changed(name).variant == SETTINGS[name].written(another(SETTINGS[name]))


LARGE = {"model_parameters": 27_000_000, "adapted_weights": 20_000_000, "adapter_parameters": 400_000}


@pytest.mark.parametrize(
    ("parts", "train", "facts"),
    [
        ([], {}, {}),
        (["20,000,000 parameters"], {}, {"adapter_parameters": 20_000_000}),
        (["takes only 11 MB"], {}, {"model_parameters": 677_310}),
        ([], {"ranks": ()}, {"model_parameters": 677_310, "adapted_weights": 0, "adapter_parameters": 0}),
        (["log-loss"], {"class_weights": "balanced"}, {}),
        ([], {"class_weights": "balanced", "selection_metric": "balanced_accuracy"}, {}),
    ],
)
def test_a_warning_appears_where_it_applies_with_its_number(parts, train, facts):
    axes = {name: train[name] for name in ("ranks",) if name in train}
    run = RunSettings(dataset="d", target="t", train=TrainSettings(**{k: v for k, v in train.items() if k not in axes}))
    warnings = list(advise(SweepSettings(run=run, **axes), **LARGE | facts))
    assert len(warnings) == len(parts) and all(part in text for part, text in zip(parts, warnings, strict=True))


@pytest.mark.parametrize(("rows", "rank", "dropout"), [(569, 4, 0.1), (10_001, 8, 0.05), (100_001, 16, 0.02)])
def test_a_table_gets_the_guides_values_for_its_size(rows, rank, dropout):
    assert PRESETS[proposed(rows)] == LoraSettings(rank=rank, alpha=2 * rank, dropout=dropout)
    assert WHY[proposed(rows)].startswith(f"{proposed(rows)} data")
