"""Everything a person can set, in one place to import from.

In: a form, a TOML file, the command line or keyword arguments. Out: frozen dataclasses that the rest trusts.
The docstring under each field is the widget's tooltip and the command line's help.
"""

from tabtune_core.settings.run import LEARNING_RATES, REFERENCES, STRATEGY_NAMES, TRAINED, RunSettings, SplitBy, Strategy
from tabtune_core.settings.serialization import describe, read_pattern
from tabtune_core.settings.sweep import AXES_OF_LORA, AXIS_NAMES, LORA_AXES, MANY_RUNS, MOST_RUNS, SweepSettings
from tabtune_core.settings.training import ADAM_ONLY, LORA_ONLY, Amp, Bias, LoraSettings, Optimizer, Schedule, TrainSettings

__all__ = [
    "ADAM_ONLY",
    "AXES_OF_LORA",
    "AXIS_NAMES",
    "LEARNING_RATES",
    "LORA_AXES",
    "LORA_ONLY",
    "MANY_RUNS",
    "MOST_RUNS",
    "REFERENCES",
    "STRATEGY_NAMES",
    "TRAINED",
    "Amp",
    "Bias",
    "LoraSettings",
    "Optimizer",
    "RunSettings",
    "Schedule",
    "SplitBy",
    "Strategy",
    "SweepSettings",
    "TrainSettings",
    "describe",
    "read_pattern",
]
