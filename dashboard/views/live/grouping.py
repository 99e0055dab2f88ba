"""Which runs are drawn together, as their mean: those of one configuration under all its seeds, or those that share a setting.

In: the runs of a sweep. Out: what they can be grouped by, and a name for each run that its group shares.
"""

import dataclasses
from collections.abc import Sequence

from dashboard.queries.legend import Legend, grouped_legend, legend_of
from dashboard.views.live.actions import NAMES, fields_of, value_of
from tabtune_core.settings import REFERENCES, SETTINGS, STRATEGY_NAMES, RunSettings
from tabtune_core.settings.labels import numbered, told_apart
from tabtune_core.settings.serialization import written_targets
from tabtune_core.store.run_row import Run

EACH, SEEDS = "run", "seeds"
MOST_APART = 12
"""With more runs under several seeds, their means are shown first."""
TITLES = {name: SETTINGS[name].label for name in (*NAMES, "targets", "model")}
"""Settings that runs can be grouped by."""


def groupings(runs: Sequence[Run]) -> dict[str, str]:
    """What the runs can be grouped by, with its title: each alone, over seeds, and by every setting that differs within a strategy."""
    settings = [run.settings for run in runs]
    strategies = {one.strategy for one in settings}
    values = {name: [{_value(one, name) for one in settings if one.strategy == strategy} for strategy in strategies] for name in TITLES}
    differing = [name for name in TITLES if any(len(own) > 1 for own in values[name])]
    seeds = {SEEDS: "Configuration (mean over seeds)"} if len({one.seed for one in settings}) > 1 else {}
    return {EACH: "None: each run"} | seeds | {name: TITLES[name] for name in differing}


def usual(runs: Sequence[Run]) -> str:
    """What to begin with."""
    return SEEDS if len(runs) > MOST_APART and SEEDS in groupings(runs) else EACH


def legend(runs: list[Run], shown: list[Run], by: str) -> Legend:
    """The runs that are ``shown``, of all, under the names of their groups; strategies are never mixed."""
    if by == EACH:
        return legend_of(shown, runs)
    return grouped_legend(_over_seeds(runs) if by == SEEDS else {run.id: _by_setting(run.settings, by) for run in runs}, shown)


def _over_seeds(runs: list[Run]) -> dict[str, str]:
    several = len({run.settings.model for run in runs}) > 1
    alike = {run.id: dataclasses.replace(run.settings, seed=0) for run in runs}
    distinct = list({repr(one): one for one in alike.values()}.values())
    named = [one.label + (f" · {one.model}" if several and one.strategy not in REFERENCES else "") for one in distinct]
    names = dict(zip(map(repr, distinct), numbered(told_apart(named, distinct)), strict=True))
    return {run_id: names[repr(one)] for run_id, one in alike.items()}


def _by_setting(settings: RunSettings, by: str) -> str:
    value = _value(settings, by)
    if value is None:
        return STRATEGY_NAMES[settings.strategy]
    name = STRATEGY_NAMES[settings.strategy]
    return f"{name} r={value}" if by == "rank" else f"{name}, {TITLES[by].lower()} {value}"


def _value(settings: RunSettings, name: str) -> str | None:
    """A setting as text; None where it does not matter to the run, or is tied to another."""
    if name == "model":
        return settings.model
    if name == "targets":
        return written_targets(settings.lora.targets) if settings.strategy == "peft" else None
    tied = name == "alpha" and settings.lora.alpha is None
    return value_of(settings, name) if name in fields_of(settings) and not tied else None
