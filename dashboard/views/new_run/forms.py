"""Sweep settings <-> the values of widgets, whose keys are the names of the settings."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_origin

import streamlit as st

from tabtune_core.errors import SettingError
from tabtune_core.metrics import SELECTION, Task
from tabtune_core.settings import SETTINGS, LoraSettings, RunSettings, Setting, SplitBy, SweepSettings
from tabtune_core.settings.fields import rows_of
from tabtune_core.settings.labels import short_rate
from tabtune_core.settings.serialization import read_pattern, read_target_set, written_targets
from tabtune_core.wording import counted


def written(value: float, short: Callable[[float], str] = "{:g}".format) -> str:
    """Formats a number as a person would type it, with all digits; ``short`` may drop some, as ``short_rate`` does."""
    return short(value) if float(short(value)) == value else repr(float(value))


def read_numbers(what: str, texts: Iterable[str]) -> tuple[float, ...]:
    """Returns the distinct numbers of a typed list, smallest first; raises SettingError for another text."""
    numbers = set()
    for text in texts:
        try:
            numbers.add(float(text))
        except ValueError as error:
            raise SettingError(f"{what} is {text!r}, which is not a number; type for example 0.1 or 2e-4.") from error
    return tuple(sorted(numbers))


def read_seeds(text: str) -> tuple[int, ...]:
    """Returns whole numbers separated by commas or spaces; raises SettingError for another text."""
    parts = text.replace(",", " ").split()
    if not parts or not all(part.isdecimal() for part in parts):
        raise SettingError(f"Seeds are {text!r}; write whole numbers with commas between them, for example 0, 1, 2.")
    return tuple(int(part) for part in parts)


BY_HAND = (
    *("model", "device", "steps", "epochs", "selection_metric"),
    *("zero_shot", "full_fine_tuning", "references", "one_rate"),
)
"""Settings whose widgets are drawn one by one."""
FORM = {row.name: row for row in (*SETTINGS.values(), *rows_of(SweepSettings)) if row.place or row.name in BY_HAND}
"""Settings that widgets hold unchanged; the axes and the seeds are typed as lists."""
LARGEST_WHOLE = 2**53 - 1
"""The largest whole number that a browser represents exactly."""
LAST_FORM = "last_form"
"""Key of the session state with the values that a person had chosen on the last visit."""
USUAL_ALPHA = 16.0
"""Shown when alpha is no longer tied to the rank."""


def keys_of(row: Setting) -> list[str]:
    """Returns the widget keys of a setting: its name, or one key for each of a pair of numbers, such as ``beta_1``."""
    return [f"{row.name[:-1]}_{place}" for place in (1, 2)] if row.kind == tuple[float, float] else [row.name]


def is_decimal(row: Setting) -> bool:
    """Returns True if its widget accepts only floats; a settings file may have a whole number there."""
    return row.kind in (float, tuple[float, float])


def to_widgets(sweep: SweepSettings) -> dict[str, Any]:
    """Returns the value of every widget that shows this sweep, except table, target and task, which Data holds."""
    values: dict[str, Any] = {}
    for row in FORM.values():
        value = getattr(sweep, row.name) if row.owner is SweepSettings else sweep.run.value(row.name)
        if get_origin(row.kind) is Mapping:
            value = "\n".join(f"{part} = {number}" for part, number in value.items())
        keys = keys_of(row)
        for key, one in zip(keys, value if len(keys) > 1 else (value,), strict=True):
            values[key] = float(one) if is_decimal(row) and one is not None else one
    lora, train = sweep.run.lora, sweep.run.train
    alphas = sweep.alphas or (() if lora.alpha is None else (lora.alpha,))
    rates = sweep.learning_rates or (() if train.learning_rate is None else (train.learning_rate,))
    first, *others = sweep.target_sets or (lora.targets,)  # the first set of target modules has its own picker
    return {
        **values,
        "selection_metric": sweep.run.selection_metric,
        "checkpoint": sweep.run.checkpoint or "",
        "ranks": list(sweep.ranks),
        "seeds": ", ".join(map(str, sweep.seeds)),
        "length": "epochs" if train.steps is None else "steps",
        "steps": train.steps or 100,
        "tied": not alphas,
        "alphas": [written(alpha) for alpha in alphas or (USUAL_ALPHA,)],
        "dropouts": [written(dropout) for dropout in sweep.dropouts or (lora.dropout,)],
        "targets": list(first),
        "target_sets": [written_targets(targets) for targets in others],
        "learning_rates": [written(rate, short_rate) for rate in rates],
        "full_learning_rates": [written(rate, short_rate) for rate in sweep.full_learning_rates],
    }


def to_sweep(
    values: Mapping[str, Any],
    *,
    dataset: str,
    target: str,
    task: Task = "classification",
    split_at_median: bool = False,
    split: tuple[SplitBy, str | None] = ("random", None),
) -> SweepSettings:
    """Returns the sweep that the widgets describe, or raises SettingError; a missing widget has its default."""
    values = {**DEFAULTS, "selection_metric": SELECTION[task], **values, "task": task}
    for row in FORM.values():
        if is_idle(row, values):
            values |= {key: DEFAULTS[key] for key in keys_of(row)}
    alphas = () if values["tied"] else read_numbers("Alpha", values["alphas"])
    if not alphas and not values["tied"]:
        raise SettingError("Alpha has no value; type one, or tie it to the rank.")
    dropouts = read_numbers("Dropout", values["dropouts"]) or (LoraSettings().dropout,)
    rates = read_numbers("The learning rate", values["learning_rates"])
    sets = dict.fromkeys((tuple(values["targets"]), *map(read_target_set, values["target_sets"])))
    values |= {
        "steps": values["steps"] if values["length"] == "steps" else None,
        "selection_metric": None if values["selection_metric"] == SELECTION[task] else values["selection_metric"],
        "checkpoint": values["checkpoint"].strip() or None,
        "alpha": alphas[0] if alphas else None,
        "dropout": dropouts[0],
        "targets": next(iter(sets)),
        "learning_rate": rates[0] if rates else None,
    }
    named = {name: _read(row, values) for name, row in SETTINGS.items() if keys_of(row)[0] in values}
    of_target = {"split_at_median": split_at_median, "split_by": split[0], "split_column": split[1]}
    axes: dict[str, Any] = {"alphas": alphas, "dropouts": dropouts, "target_sets": tuple(sets), "learning_rates": rates}
    full = values["full_learning_rates"] if values["full_fine_tuning"] else ()
    return SweepSettings(
        run=RunSettings(dataset=dataset, target=target).changed(**named, **of_target),
        ranks=tuple(sorted(values["ranks"])),
        full_learning_rates=read_numbers("The rate of full fine-tuning", full),
        seeds=read_seeds(values["seeds"]),
        **{name: axis for name, axis in axes.items() if len(axis) > 1 and values["ranks"]},
        **{name: values[name] for name, row in FORM.items() if row.owner is SweepSettings},
    )


def is_idle(row: Setting, values: Mapping[str, Any]) -> bool:
    """Returns True if a setting has no effect given the other values, so that no widget shows it."""
    return row.idle is not None and values.get(row.idle.other) == row.idle.value


def _read(row: Setting, values: Mapping[str, Any]) -> Any:
    if get_origin(row.kind) is Mapping:
        return read_pattern(filter(str.strip, re.split("[\n,]", values[row.name])), get_args(row.kind)[1])
    keys = keys_of(row)
    return tuple(values[key] for key in keys) if len(keys) > 1 else values[row.name]


DEFAULTS: dict[str, Any] = to_widgets(SweepSettings(run=RunSettings(dataset="-", target="-")))


def remember() -> None:
    """Restores the form of the last visit, unless the address has one; call it before the widgets are drawn."""
    if not (DEFAULTS.keys() & {*st.session_state, *st.query_params}):
        st.session_state.update(st.session_state.get(LAST_FORM, {}))


def keep(values: Mapping[str, Any]) -> None:
    """Keeps the form for the next visit of the page."""
    st.session_state[LAST_FORM] = {name: value for name, value in values.items() if value != DEFAULTS[name]}


def fill(sweep: SweepSettings) -> None:
    """Fills the widgets before they are drawn, or raises SettingError if a whole number is too large for one."""
    values = to_widgets(sweep)
    for name, value in [*values.items(), *(("ranks", rank) for rank in sweep.ranks)]:
        if isinstance(value, int) and value > LARGEST_WHOLE:
            most = f"the form takes whole numbers up to {LARGEST_WHOLE:,}"
            raise SettingError(f"{name} is {value:,}; {most}. Choose a smaller one.")
    st.session_state.update(values)


def sweep_name(table: str, model: str, sweep: SweepSettings) -> str:
    """Returns a sweep's name for lists: the table, the model, and what is compared."""
    ranks = f"r = {', '.join(map(str, sweep.ranks))}" if sweep.ranks else ""
    axes = {"alpha": sweep.alphas, "dropout": sweep.dropouts, "rate": sweep.learning_rates}
    others = [f"{name} {', '.join(map(written, values))}" for name, values in axes.items() if values]
    parts = [counted(len(sweep.target_sets), "set of target modules")] if sweep.target_sets else []
    head = ", ".join(filter(None, (f"{table}: {model}", ranks)))
    return "; ".join(filter(None, (head, *others, *parts, sweep.run.split)))
