"""The settings of one run: rows, model and what is trained.

In: keyword arguments or plain values. Out: a frozen dataclass whose values have been checked. The docstring under each
field is the widget's tooltip and the command line's help.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tabtune_core.metrics import SELECTION, Task, metrics_of
from tabtune_core.settings.fields import (
    ALL,
    LORA,
    MODELS,
    TRAINED,
    Idle,
    Setting,
    Strategy,
    rows_of,
    sections_of,
    setting,
)
from tabtune_core.settings.serialization import from_values, plain_values
from tabtune_core.settings.training import LoraSettings, TrainSettings
from tabtune_core.settings.validation import check, require
from tabtune_core.variants import VARIANTS

SplitBy = Literal["random", "time", "group"]
STRATEGY_NAMES: dict[Strategy, str] = {
    "inference": "Zero-shot",
    "base-ft": "Full fine-tuning",
    "peft": "LoRA",
    "linear": "Linear model",
    "boosting": "Gradient boosting",
    "constant": "Constant",
}
REFERENCES: tuple[Strategy, ...] = ("linear", "boosting", "constant")
"""Strategies without a foundation model: scikit-learn's models and a constant on the same split, to compare with."""
LEARNING_RATES: dict[Strategy, float] = dict.fromkeys(ALL, 0.0) | {"base-ft": 2e-5, "peft": 2e-4}
"""Peak learning rates of the guide's section 6.2: an adapter needs about ten times the rate of full fine-tuning."""

_WITHOUT_CLASSES = Idle("task", "regression", "with task 'regression'.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The settings of one run: rows, model and what is trained."""

    dataset: str = field(metadata={"argument": None, "column": True})
    """ID of the table in the workspace (a hash of its content)."""
    target: str = field(metadata={"argument": None, "column": True})
    """Column to predict."""
    task: Task = setting("classification", argument=None, column=True)
    """'classification' predicts classes, 'regression' predicts numbers."""
    model: str = setting("tabicl-mini", "Model", argument=None, column=True)
    """Name of the base model in the catalogue."""
    checkpoint: str | None = setting(None, "Weights file instead of the model's own", "Rows, weights")
    """Path of a weights file that replaces the model's own."""
    strategy: Strategy = setting("peft", argument=None, column=True)
    """'inference' is zero-shot, 'base-ft' full fine-tuning, 'peft' LoRA; the others use no foundation model."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    seed: int = setting(0, "Seed", low=0, below=2**32, column=True)
    """Random seed of training and validation rows, adapter and episodes, which runs with the same seed share."""
    device: str = setting("auto", "Device")
    """'auto' uses a free CUDA GPU if there is one, else the CPU. 'cpu', 'cuda' and 'cuda:1' are used as given."""
    validation_share: float = setting(0.2, "Validation rows (share)", "Rows, weights", low=0.05, high=0.5, step=0.05)
    """Share of the rows for validation, which chooses the best checkpoint and ranks the runs."""
    test_share: float = setting(0.2, "Test rows (share)", "Rows, weights", low=0.05, high=0.5, argument=None, step=0.05)
    """Share of the rows for the test. Test scores are reported and choose nothing."""
    split_seed: int = setting(0, "Seed of the test rows", "Rows, weights", low=0, below=2**32, argument=None)
    """Random seed of the test rows, which are held out once and are the same for every seed of a run."""
    split_by: SplitBy = setting("random", column=True)
    """How the rows are split: by class at random, by time with the latest for the test, or with groups kept whole."""
    split_column: str | None = setting(None, column=True)
    """Column of the split by time or by group. Rows without a value in it are only trained on."""
    split_at_median: bool = setting(False, argument=None)
    """Turn a numeric target into two classes: up to its median, and above its median."""
    group_rare_classes: int = setting(
        0, "Group classes with fewer rows", "Rows, weights", low=0, argument=None, idle=_WITHOUT_CLASSES
    )
    """Classes of the target with fewer rows than this are merged into one class, 'other'; 0 merges none."""

    def __post_init__(self) -> None:
        check(self)
        require(bool(self.dataset), "dataset is empty; add a table first.")
        require(bool(self.target), "target is empty; name the column to predict.")
        idle = f"split_column is {self.split_column!r}, which changes nothing with split_by 'random'"
        random = self.split_by == "random"
        require(not random or self.split_column is None, f"{idle}; choose 'time' or 'group', or omit it.")
        wanted = f"split_by is {self.split_by!r}, which needs a column: name it as split_column."
        require(random or bool(self.split_column), wanted)
        halves = "split_at_median makes two classes of the target, so the task must be 'classification'"
        require(not self.split_at_median or self.task == "classification", f"{halves}, not 'regression'.")
        metric, fitting = self.train.selection_metric, metrics_of(self.task)
        other = f"train.selection_metric is {metric!r}; for {self.task} it must be one of {', '.join(fitting)}."
        require(metric in (None, *fitting), other)
        for name in LORA_ONLY if self.strategy != "peft" else ():
            useless = f"{SETTINGS[name].path} changes nothing with the strategy {self.strategy!r}"
            require(self.is_usual(name), f"{useless}; leave it out, or choose 'peft'.")

    def part(self, owner: type) -> Any:
        """Returns the section of class ``owner``, or the run itself."""
        return self if owner is RunSettings else self.lora if owner is LoraSettings else self.train

    def value(self, name: str) -> Any:
        """Returns the value of a setting of the run or of one of its sections."""
        return getattr(self.part(SETTINGS[name].owner), name)

    def is_usual(self, name: str) -> bool:
        """Whether a setting is at its default."""
        return bool(self.value(name) == SETTINGS[name].default)

    def is_replaced(self, name: str) -> bool:
        """Whether another setting replaces it, as the steps replace the epochs."""
        other = SETTINGS[name].replaced_by
        return bool(other) and self.value(other) is not None

    def used(self, name: str) -> Any:
        """Returns the value of a setting as the run uses it: defaults of alpha and the learning rate are filled in."""
        usual = {"alpha": self.lora.effective_alpha, "learning_rate": self.learning_rate}
        return usual[name] if name in usual else self.value(name)

    def changed(self, **values: Any) -> "RunSettings":
        """Returns a copy with other values of some settings, whichever section they are in.

        >>> RunSettings(dataset="-", target="y").changed(rank=4, steps=7, seed=1).label
        'LoRA r=4'
        """
        named: dict[type, dict[str, Any]] = {RunSettings: {}, LoraSettings: {}, TrainSettings: {}}
        for name, value in values.items():
            named[SETTINGS[name].owner][name] = value
        for name, owner in sections_of(RunSettings).items():
            if named[owner]:
                named[RunSettings][name] = dataclasses.replace(self.part(owner), **named[owner])
        return dataclasses.replace(self, **named[RunSettings])

    @property
    def learning_rate(self) -> float:
        """The peak learning rate as set, or the guide's (with LoRA+, of the factors A); 0 if nothing is trained."""
        own = self.train.learning_rate if self.strategy in TRAINED else None
        return LEARNING_RATES[self.strategy] if own is None else own

    @property
    def selection_metric(self) -> str:
        """The selection metric as set, or the task's default."""
        return self.train.selection_metric or SELECTION[self.task]

    @property
    def variant(self) -> str:
        """The settings beside the rank that are not at their defaults, for example ``ensemble of 4, DoRA``."""

        def written(of: tuple[Strategy, ...]) -> list[str]:
            rows = [row for row in WRITTEN if row.strategies == of and not self.is_usual(row.name)]
            return [row.written(self.value(row.name)) for row in rows if row.written and self.strategy in of]

        adapter = [VARIANTS[self.lora.variant].title] if self.strategy == "peft" and self.lora.variant != "lora" else []
        return ", ".join([*written(MODELS), *written(TRAINED), *adapter, *written(LORA)])

    @property
    def split(self) -> str:
        """The split in words, for example ``split by time: date``; empty for a random split."""
        return "" if self.split_by == "random" else f"split by {self.split_by}: {self.split_column}"

    @property
    def test_set(self) -> str:
        """Eight hex digits of the set of test rows: a hash of the table, the rule of the split and its seed."""
        rule = (self.dataset, self.target, self.task, self.split_at_median, self.split_by, self.split_column)
        which = (self.group_rare_classes, self.test_share, self.train.test_rows, self.split_seed)
        return hashlib.sha256(json.dumps([*rule, *which]).encode()).hexdigest()[:8]

    @property
    def test_rows_in_words(self) -> str:
        """The set of test rows in words: ``set 1a2b3c4d, the same for every seed``."""
        return f"set {self.test_set}, the same for every seed"

    @property
    def label(self) -> str:
        """The run's name in charts and tables, for example ``LoRA r=8 (DoRA)``."""
        name = STRATEGY_NAMES[self.strategy] + (f" r={self.lora.rank}" if self.strategy == "peft" else "")
        return f"{name} ({self.variant})" if self.variant else name

    def with_strategy(self, strategy: Strategy) -> "RunSettings":
        """Returns the run with another strategy; all but ``peft`` reset the settings that only LoRA uses.

        >>> run = RunSettings(dataset="-", target="y", train=TrainSettings(lr_ratio=4.0))
        >>> run.with_strategy("inference").train.lr_ratio
        1.0
        """
        idle = {} if strategy == "peft" else {name: SETTINGS[name].default for name in LORA_ONLY}
        return self.changed(strategy=strategy, **idle)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON and TOML, without those that are None."""
        return plain_values(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunSettings":
        """Reads plain values.

        Raises:
            SettingError: naming the setting, the value and what is allowed; for an unknown name, the nearest known one.
        """
        read: RunSettings = from_values(cls, values, "")
        return read


SETTINGS: dict[str, Setting] = {
    row.name: row for owner in (RunSettings, LoraSettings, TrainSettings) for row in rows_of(owner)
}
"""Every setting of a run by name; names are unique across the sections."""
WRITTEN = tuple(row for row in SETTINGS.values() if row.written)
LORA_ONLY = tuple(row.name for row in SETTINGS.values() if row.strategies == LORA and row.owner is not LoraSettings)
"""Settings outside the LoRA section that only LoRA uses; the other strategies refuse them."""
