"""Everything a person can set, in one place to import from.

In: a form, a TOML file, the command line or keyword arguments. Out: frozen dataclasses whose values have been checked.
"""

from tabtune_core.settings.fields import LORA, MODELS, TRAINED, Setting, Strategy, describe, rows_of
from tabtune_core.settings.run import LEARNING_RATES, REFERENCES, SETTINGS, STRATEGY_NAMES, RunSettings, SplitBy
from tabtune_core.settings.serialization import read_pattern
from tabtune_core.settings.sweep import AXES, MANY_RUNS, SweepSettings
from tabtune_core.settings.training import Amp, Bias, LoraSettings, Optimizer, Schedule, TrainSettings
