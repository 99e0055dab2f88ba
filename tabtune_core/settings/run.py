"""One run: which rows, which model, what may change.

In: keyword arguments or plain values. Out: a frozen dataclass that the rest trusts. The docstring under each field is the widget's tooltip
and the command line's help.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tabtune_core.metrics import SELECTION, Task, metrics_of
from tabtune_core.settings.serialization import from_values, plain_values
from tabtune_core.settings.training import LORA_ONLY, LoraSettings, TrainSettings
from tabtune_core.settings.validation import changed, check_kinds, check_number, check_whole, require
from tabtune_core.variants import VARIANTS

Strategy = Literal["inference", "base-ft", "peft", "linear", "boosting"]
SplitBy = Literal["random", "time", "group"]
STRATEGY_NAMES: dict[Strategy, str] = {
    "inference": "Zero-shot",
    "base-ft": "Full fine-tuning",
    "peft": "LoRA",
    "linear": "Linear model",
    "boosting": "Gradient boosting",
}
TRAINED: tuple[Strategy, ...] = ("base-ft", "peft")
"""Strategies that train a foundation model."""
REFERENCES: tuple[Strategy, ...] = ("linear", "boosting")
"""Strategies that need none: scikit-learn's models on the same split, to compare with."""
LEARNING_RATES: dict[Strategy, float] = {"inference": 0.0, "base-ft": 2e-5, "peft": 2e-4, "linear": 0.0, "boosting": 0.0}
"""The guide's section 6.2: an adapter wants about ten times the rate of the full model."""
USUAL_RANK = 8
"""The rank that these rates are for; see ``rate_scales_with_rank``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """One run: which rows, which model, what may change."""

    dataset: str
    """ID of the table in the workspace (a hash of its content)."""
    target: str
    """Column to predict."""
    task: Task = "classification"
    """'classification' predicts classes, 'regression' predicts numbers."""
    model: str = "tabicl-mini"
    """Name of the base model in the catalogue."""
    checkpoint: str | None = None
    """Path of a weights file that replaces the model's own."""
    strategy: Strategy = "peft"
    """'inference' is zero-shot, 'base-ft' is full fine-tuning, 'peft' trains a LoRA adapter. The references use no foundation model:
    'linear' is logistic or ridge regression, 'boosting' is gradient boosting, both from scikit-learn."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    seed: int = 0
    """Random seed of the training and validation rows (except in a split by time), the adapter's initialization and the episodes. Runs with
    the same seed share all of them. A run repeated on a CUDA GPU may differ in the last digits, because some sums have no fixed order
    there."""
    split_seed: int = 0
    """Random seed of the test rows. They are held out once and are the same for every ``seed``, so that no run trains on them or chooses by
    them."""
    test_rows_move: bool = False
    """Let ``seed`` draw the test rows too, as in earlier versions. Then test rows of one seed are training and validation rows of another,
    so a choice that was made over several seeds has used them."""
    device: str = "auto"
    """'auto' takes a free CUDA GPU if there is one, else the CPU. 'cpu', 'cuda' and 'cuda:1' are used as given."""
    validation_share: float = 0.2
    """Share of the rows for validation, which chooses the best checkpoint and ranks the runs."""
    test_share: float = 0.2
    """Share of the rows for the test, which is only reported."""
    split_by: SplitBy = "random"
    """How the rows are split. Random: stratified by class. Time: the earliest rows of a date or number column are for training, later ones
    for validation, the latest for the test, with the same split for every seed. Group: all rows of one value, such as a customer, stay
    together. If a table has dates or repeated IDs, a random split gives better scores than new rows will."""
    split_column: str | None = None
    """Column of the split by time or by group. Rows without a value in it are used for training only. A group column is not a feature; a
    time column stays a feature unless you leave it out."""
    split_at_median: bool = False
    """Turn a numeric target into two classes: up to its median, and above it."""
    _sections: ClassVar[dict[str, type]] = {"lora": LoraSettings, "train": TrainSettings}
    _earlier: ClassVar[frozenset[str]] = frozenset({"quick_sweep"})
    """Settings of earlier versions, which changed how long a run takes and not what comes of it."""

    def __post_init__(self) -> None:
        check_kinds(self, "")
        require(bool(self.dataset), "dataset is empty; add a table first.")
        require(bool(self.target), "target is empty; name the column to predict.")
        idle = f"split_column is {self.split_column!r}, which changes nothing with split_by 'random'; choose 'time' or 'group', or none."
        require(self.split_by != "random" or self.split_column is None, idle)
        wanted = f"split_by is {self.split_by!r}, which needs a column: name it as split_column."
        require(self.split_by == "random" or bool(self.split_column), wanted)
        halves = self.split_at_median and self.task == "regression"
        require(not halves, "split_at_median makes two classes of the target, so the task must be 'classification', not 'regression'.")
        metric, fitting = self.train.selection_metric, metrics_of(self.task)
        require(
            metric in (None, *fitting), f"train.selection_metric is {metric!r}; for {self.task} it must be one of {', '.join(fitting)}."
        )
        weights = f"train.class_weights is {self.train.class_weights!r}; for regression, which has no classes, it must be 'none'."
        require(self.task == "classification" or self.train.class_weights == "none", weights)
        for name in changed(self.train, LORA_ONLY):
            useless = f"train.{name} changes nothing with the strategy {self.strategy!r}; leave it out, or choose 'peft'."
            require(self.strategy == "peft", useless)
        for name, seed in (("seed", self.seed), ("split_seed", self.split_seed)):
            check_whole(name, seed, 0)
            require(seed < 2**32, f"{name} is {seed}; it must be below {2**32}.")
        idle = f"split_seed is {self.split_seed}, which changes nothing with test_rows_move; leave one of the two out."
        require(not self.test_rows_move or not self.split_seed, idle)
        check_number("validation_share", self.validation_share, 0.05, 0.5, "0.2 is usual.")
        check_number("test_share", self.test_share, 0.05, 0.5, "0.2 is usual.")

    @property
    def base_rate(self) -> float:
        """The peak rate as set, or the strategy's own."""
        return LEARNING_RATES[self.strategy] if self.train.learning_rate is None else self.train.learning_rate

    @property
    def learning_rate(self) -> float:
        """The peak rate as used; with LoRA+, that of the factors A."""
        return self.base_rate * math.sqrt(USUAL_RANK / self.lora.rank) if self.train.rate_scales_with_rank else self.base_rate

    @property
    def selection_metric(self) -> str:
        """The validation score that decides, as used."""
        return self.train.selection_metric or SELECTION[self.task]

    @property
    def variant(self) -> str:
        """What makes the run another one than its rank says, for example ``DoRA, 4 views``; empty where all of that is as usual."""
        lora, train = self.lora, self.train
        said = {f"ensemble of {train.views}": train.views > 1 and self.strategy not in REFERENCES}
        if train.predict_context_rows is not None and self.strategy not in REFERENCES:
            said |= {f"{train.predict_context_rows:,} context rows": True}
        if self.strategy in TRAINED:
            said |= {train.optimizer: train.optimizer != "adamw", train.schedule: train.schedule != "cosine", train.amp: train.amp != "off"}
            said |= {f"class weights {train.class_weights}": train.class_weights != "none"}
        if self.strategy == "peft":
            said |= {
                VARIANTS[lora.variant].title: lora.variant != "lora",
                "rsLoRA": lora.use_rslora,
                f"bias {lora.bias}": lora.bias != "none",
                "rank pattern": bool(lora.rank_pattern),
                "alpha pattern": bool(lora.alpha_pattern),
                f"LoRA+ {train.lr_ratio:g}": train.lr_ratio != 1,
                "rate by rank": train.rate_scales_with_rank,
            }
        return ", ".join(name for name, on in said.items() if on)

    @property
    def split(self) -> str:
        """The split in words where it is not at random, for example ``split by time: date``; else empty."""
        return "" if self.split_by == "random" else f"split by {self.split_by}: {self.split_column}"

    @property
    def test_set(self) -> str:
        """Eight digits by which one set of test rows is told from another: a hash of the table, the rule of the split and its seed."""
        rule = (self.dataset, self.target, self.task, self.split_at_median, self.split_by, self.split_column)
        moving = (self.seed, self.validation_share, self.train.validation_rows) if self.test_rows_move else self.split_seed
        return hashlib.sha256(json.dumps([rule, self.test_share, self.train.test_rows, moving]).encode()).hexdigest()[:8]

    @property
    def test_rows_stay(self) -> bool:
        """Whether no seed trains on test rows of another one, or chooses by them."""
        return not self.test_rows_move or self.split_by == "time"

    @property
    def test_rows_in_words(self) -> str:
        """Which they are, for example ``set 1a2b3c4d, the same for every seed``."""
        if not self.test_rows_move:
            return f"set {self.test_set}, the same for every seed"
        return f"set {self.test_set} of seed {self.seed}" + ("" if self.test_rows_stay else ", on which other seeds train or choose")

    @property
    def label(self) -> str:
        """What a chart or a row calls this run, for example ``LoRA r=8 (DoRA)``."""
        name = STRATEGY_NAMES[self.strategy] + (f" r={self.lora.rank}" if self.strategy == "peft" else "")
        return f"{name} ({self.variant})" if self.variant else name

    def with_strategy(self, strategy: Strategy) -> "RunSettings":
        """The same run with another strategy, without the settings that this one has no use for.

        >>> run = RunSettings(dataset="-", target="y", train=TrainSettings(lr_ratio=4.0))
        >>> run.with_strategy("inference").train.lr_ratio
        1.0
        """
        if strategy == "peft":
            return dataclasses.replace(self, strategy=strategy)
        usual = TrainSettings()
        train = dataclasses.replace(self.train, **{name: getattr(usual, name) for name in LORA_ONLY})
        return dataclasses.replace(self, strategy=strategy, train=train)

    def to_dict(self) -> dict[str, Any]:
        """Plain values without those that are None, ready for JSON and TOML."""
        return plain_values(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunSettings":
        """Reads plain values; an unknown name is an error that suggests the nearest.

        Raises:
            SettingError: naming the setting, the value and what would do.
        """
        read: RunSettings = from_values(cls, values, "")
        return read

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> "RunSettings":
        """The settings that a run was recorded with: in earlier versions its test rows moved with its seed.

        Raises:
            SettingError: as of ``from_dict``.
        """
        return cls.from_dict({"test_rows_move": True, **values})

    @classmethod
    def of_package(cls, values: Mapping[str, Any]) -> "RunSettings":
        """The settings that a run stored with what it made: in earlier versions its predictions were shown ``context_rows``.

        Raises:
            SettingError: as of ``from_dict``.
        """
        read = cls.stored(values)
        if read.train.predict_context_rows is None:
            read = dataclasses.replace(read, train=dataclasses.replace(read.train, predict_context_rows=read.train.context_rows))
        return read
