"""A sweep: the many runs of a grid, with what stands beside them."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import tomli_w

from tabtune_core.settings.run import REFERENCES, RunSettings, Strategy
from tabtune_core.settings.serialization import from_values, plain_values, read_toml
from tabtune_core.settings.training import ADAM_ONLY, LoraSettings
from tabtune_core.settings.validation import check_kinds, check_whole, require
from tabtune_core.wording import counted

MOST_RUNS = 1_000
"""Of one sweep."""
MANY_RUNS = 100
"""Of a sweep that a person is asked about before it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """LoRA at every point of a grid, with the two baselines and two references beside it; all of it under each seed.

    An axis without values has the single one of ``run``. The baselines have no adapter: zero-shot is one run a seed, full fine-tuning one
    for each of its own rates. The references have no foundation model.
    """

    run: RunSettings
    """What the runs have in common."""
    ranks: tuple[int, ...] = (2, 4, 8)
    """LoRA ranks to compare."""
    alphas: tuple[float, ...] = ()
    """Alphas to compare, each with every rank. Default: the alpha of the LoRA settings."""
    dropouts: tuple[float, ...] = ()
    """Dropouts to compare. Default: the dropout of the LoRA settings."""
    target_sets: tuple[tuple[str, ...], ...] = ()
    """Sets of target modules to compare. An empty set is the model's own list. Default: the targets of the LoRA settings."""
    learning_rates: tuple[float, ...] = ()
    """Peak learning rates of LoRA to compare. Default: the learning rate of the training settings."""
    full_learning_rates: tuple[float, ...] = ()
    """Peak learning rates of full fine-tuning to compare, one run each. Default: 2e-5."""
    zero_shot: bool = True
    """Add a zero-shot run: the base model without training."""
    full_fine_tuning: bool = True
    """Add a full fine-tuning run, which trains every weight."""
    references: bool = True
    """Add two reference runs without a foundation model: logistic or ridge regression, and gradient boosting (scikit-learn, seconds)."""
    seeds: tuple[int, ...] = (0,)
    """Random seeds; every run is repeated with each of them."""
    _sections: ClassVar[dict[str, type]] = {"run": RunSettings}

    def __post_init__(self) -> None:
        check_kinds(self, "")
        for name in (*LORA_AXES, "full_learning_rates", "seeds"):  # before each value is looked at, which takes its time
            number = len(getattr(self, name))
            require(number <= MOST_RUNS, f"{name} has {number:,} values; at most {MOST_RUNS:,} runs go into one sweep.")
        for name, setting in AXES_OF_LORA.items():
            for value in getattr(self, name):
                dataclasses.replace(self.run.lora, **{setting: value})  # says itself what is wrong with a value
        for rate in (*self.learning_rates, *self.full_learning_rates):
            dataclasses.replace(self.run.train, learning_rate=rate)
        for seed in self.seeds:
            check_whole("seeds", seed, 0)
            dataclasses.replace(self.run, seed=seed)
        for name in (*LORA_AXES, "full_learning_rates"):
            values = getattr(self, name)
            require(len(set(values)) == len(values), f"{name} {_listed(values)} name one value twice.")
        require(
            len(self.seeds) > 0 and len(set(self.seeds)) == len(self.seeds), f"seeds {list(self.seeds)} must be one or more, each once."
        )
        require(bool(self.ranks) or self.zero_shot or self.full_fine_tuning, "Nothing to run: choose a rank or a baseline.")
        for name in LORA_AXES[1:]:
            idle = f"{name} {_listed(getattr(self, name))} change nothing without a LoRA rank; leave them out, or choose a rank."
            require(bool(self.ranks) or not getattr(self, name), idle)
        idle = f"full_learning_rates {_listed(self.full_learning_rates)} change nothing without full fine-tuning; leave them out."
        require(self.full_fine_tuning or not self.full_learning_rates, idle)
        require(self.size <= MOST_RUNS, f"The sweep has {self.size:,} runs ({self.formula}); at most {MOST_RUNS:,} go into one.")

    @property
    def size(self) -> int:
        """How many runs there are."""
        return len(self.seeds) * (self.zero_shot + self._full_runs + self._adapters + len(self._references))

    @property
    def formula(self) -> str:
        """How that number comes about, for example ``3 ranks x 2 dropouts + 2 baselines, x 3 seeds``."""
        counts = {name: len(getattr(self, name)) for name in LORA_AXES}
        grid = " x ".join(counted(count, AXIS_NAMES[name]) for name, count in counts.items() if count > (name != "ranks"))
        if self._full_runs > 1:
            others = [*(["zero-shot"] if self.zero_shot else []), f"{self._full_runs} rates of full fine-tuning"]
        else:
            baselines = self.zero_shot + self._full_runs
            others = [counted(baselines, "baseline")] if baselines else []
        others += [counted(len(self._references), "reference")] if self._references else []
        terms = " + ".join(([grid] if grid else []) + others)
        return f"{terms}, x {len(self.seeds)} seeds" if len(self.seeds) > 1 else terms

    @property
    def _references(self) -> tuple[Strategy, ...]:
        return REFERENCES if self.references else ()

    @property
    def _full_runs(self) -> int:
        return max(1, len(self.full_learning_rates)) if self.full_fine_tuning else 0

    @property
    def _adapters(self) -> int:
        return math.prod([len(self.ranks), *(max(1, len(getattr(self, name))) for name in LORA_AXES[1:])])

    def expand(self) -> list[RunSettings]:
        """The single runs, seed by seed, baselines first. A tied alpha (None) follows each rank.

        A rate that is set for LoRA is not one for all weights: full fine-tuning has its own.
        """
        return [run for seed in self.seeds for run in self.one_seed(seed)]

    def one_seed(self, seed: int | None = None) -> list[RunSettings]:
        """The runs of one seed, the first unless one is named."""
        common = dataclasses.replace(self.run, seed=self.seeds[0] if seed is None else seed)
        runs = [common.with_strategy("inference")] if self.zero_shot else []
        runs += [dataclasses.replace(common.with_strategy(reference), device="cpu") for reference in self._references]
        for rate in (self.full_learning_rates or (None,)) if self.full_fine_tuning else ():
            full = common.with_strategy("base-ft")
            runs.append(dataclasses.replace(full, train=dataclasses.replace(full.train, learning_rate=rate)))
        return [*runs, *self._grid(common)]

    def _grid(self, common: RunSettings) -> Iterator[RunSettings]:
        lora, train = common.lora, common.train
        for rank, alpha, dropout, targets, rate in product(
            self.ranks,
            self.alphas or (lora.alpha,),
            self.dropouts or (lora.dropout,),
            self.target_sets or (lora.targets,),
            self.learning_rates or (train.learning_rate,),
        ):
            yield dataclasses.replace(
                common.with_strategy("peft"),
                lora=dataclasses.replace(lora, rank=rank, alpha=alpha, dropout=dropout, targets=targets),
                train=dataclasses.replace(train, learning_rate=rate),
            )

    @classmethod
    def of(cls, runs: Sequence[RunSettings]) -> "SweepSettings":
        """The sweep that some runs came from, or the smallest grid that holds them; a single run is a sweep, too.

        Raises:
            SettingError: the grid is larger than a sweep may be, or the runs differ in what no sweep lists.
        """
        lora, full = ([run for run in runs if run.strategy == strategy] for strategy in ("peft", "base-ft"))
        axes: dict[str, list[tuple[Any, Any]]] = {  # as set, and as used
            "alphas": [(run.lora.alpha, run.lora.effective_alpha) for run in lora],
            "dropouts": [(run.lora.dropout, run.lora.dropout) for run in lora],
            "target_sets": [(run.lora.targets, run.lora.targets) for run in lora],
            "learning_rates": [(run.train.learning_rate, run.base_rate) for run in lora],
            "full_learning_rates": [(run.train.learning_rate, run.base_rate) for run in full],
        }
        values = {name: tuple(dict.fromkeys(used for _, used in axis)) for name, axis in axes.items() if len({was for was, _ in axis}) > 1}
        if full and full[0].train.learning_rate is not None:
            values.setdefault("full_learning_rates", (full[0].train.learning_rate,))
        made = cls(
            run=min(runs, key=lambda run: (run.strategy != "peft", run.strategy in REFERENCES)).with_strategy("peft"),
            ranks=tuple(sorted({run.lora.rank for run in lora})),
            zero_shot=any(run.strategy == "inference" for run in runs),
            full_fine_tuning=bool(full),
            references=any(run.strategy in REFERENCES for run in runs),
            seeds=tuple(dict.fromkeys(run.seed for run in runs)),
            **values,
        )
        held = set(map(_as_used, made.expand()))
        odd = sum(_as_used(run) not in held for run in runs)
        require(odd == 0, f"One sweep cannot hold these runs: {odd:,} of {len(runs):,} differ in what it cannot list. Choose fewer.")
        return made

    def to_toml(self) -> str:
        """The whole sweep as a TOML document, of which ``from_toml`` makes the same runs; each thing is said once.

        What another setting replaces is left out: epochs where there are steps, the single value of an axis that lists several, the share
        of the warm-up where its steps are given, the strategy and the seed, which the sweep's own replace; and axes without values.
        """
        values = plain_values(dataclasses.asdict(self))
        run = values["run"]
        replaced = {
            "epochs": (run["train"], self.run.train.steps is not None),
            "warmup_ratio": (run["train"], self.run.train.warmup_steps is not None),
            "learning_rate": (run["train"], bool(self.learning_rates)),
            **{setting: (run["lora"], name == "ranks" or bool(getattr(self, name))) for name, setting in AXES_OF_LORA.items()},
            **{name: (run["train"], self.run.train.optimizer == "sgd") for name in ADAM_ONLY},
            "strategy": (run, True),
            "seed": (run, True),
        }
        for name, (section, left_out) in replaced.items():
            if left_out:
                section.pop(name, None)
        return tomli_w.dumps({name: value for name, value in values.items() if value or name == "ranks" or name not in AXIS_NAMES})

    @classmethod
    def from_toml(cls, text: str) -> "SweepSettings":
        """Reads a TOML document.

        Raises:
            SettingError: for text that is not TOML, unknown names and values out of range.
        """
        read: SweepSettings = from_values(cls, read_toml(text, cls), "")
        return read


AXES_OF_LORA = {"ranks": "rank", "alphas": "alpha", "dropouts": "dropout", "target_sets": "targets"}
"""An axis, and the LoRA setting of which it lists values."""
AXIS_NAMES = {
    "ranks": "rank",
    "alphas": "alpha",
    "dropouts": "dropout",
    "target_sets": "set of target modules",
    "learning_rates": "learning rate",
    "full_learning_rates": "rate",
}
LORA_AXES = (*AXES_OF_LORA, "learning_rates")


def _as_used(run: RunSettings) -> RunSettings:
    """Equal for two runs that do the same: defaults as what they stand for, and nothing that the strategy has no use for."""
    lora, rate = LoraSettings(), run.base_rate if run.strategy in ("peft", "base-ft") else None
    if run.strategy == "peft":
        lora = run.lora if run.lora.rank_pattern else dataclasses.replace(run.lora, alpha=run.lora.effective_alpha)
    return dataclasses.replace(run, lora=lora, train=dataclasses.replace(run.train, learning_rate=rate))


def _listed(values: tuple[Any, ...]) -> list[Any]:
    return [list(value) if isinstance(value, tuple) else value for value in values]
