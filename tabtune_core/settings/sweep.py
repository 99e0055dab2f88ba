"""A sweep: the LoRA runs of a grid, with the baselines and references that they are compared with."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import tomli_w

from tabtune_core.settings.fields import Setting, rows_of, setting
from tabtune_core.settings.run import REFERENCES, SETTINGS, RunSettings
from tabtune_core.settings.serialization import from_values, plain_values, read_toml
from tabtune_core.settings.training import LoraSettings
from tabtune_core.settings.validation import check, require
from tabtune_core.wording import counted

MOST_RUNS = 1_000
"""Most runs of one sweep."""
MANY_RUNS = 100
"""A sweep of more runs is queued only after a confirmation or with a warning."""


RUNGS = (1 / 6, 1 / 3)
"""Shares of the steps at which runs that differ only in their learning rate are compared."""
TRIED_RATES = (1.0, 4.0, 16.0)
"""Learning rates that each rank and full fine-tuning try, as multiples of the model's default."""


def race_of(run: RunSettings) -> RunSettings:
    """Returns the run's settings without its learning rate: equal for runs of which only the best rate counts."""
    return run.changed(learning_rate=None)


def going_on(rivals: int, rung: int) -> int:
    """Returns how many of the rivals go on from a rung: half of them, and one from the last.

    >>> going_on(3, 0), going_on(3, 1), going_on(2, 0)
    (2, 1, 1)
    """
    return 1 if rung + 1 >= len(RUNGS) else math.ceil(rivals / 2)


def rungs_ahead(rung: int) -> tuple[float, ...]:
    """Returns the shares of the steps at which a run still pauses that has passed ``rung`` rungs; -1: none."""
    return RUNGS[rung:] if rung >= 0 else ()


def trained_share(rivals: int) -> float:
    """Returns the share of their steps that rivals train on average, if halving ends all but the best.

    >>> trained_share(1), round(trained_share(3), 3)
    (1.0, 0.5)
    """
    left, passed, total = rivals, 0.0, 0.0
    for rung, share in enumerate(RUNGS):
        total, passed = total + left * (share - passed), share
        left = min(left, going_on(left, rung))
    return (total + left * (1 - passed)) / rivals


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """LoRA at every point of a grid, with two baselines and three references; everything is repeated for each seed.

    An axis without values has the single value of ``run``. The baselines have no adapter: zero-shot is one run per
    seed, full fine-tuning one run for each of its own learning rates. The references have no foundation model.
    """

    run: RunSettings
    """The settings that all runs share."""
    ranks: tuple[int, ...] = setting((2, 4, 8), "LoRA ranks to compare", axis="rank")
    """LoRA ranks to compare."""
    alphas: tuple[float, ...] = setting((), "Alpha, for every rank", axis="alpha", placeholder="Type a number")
    """Alphas to compare, each with every rank. Default: the alpha of the LoRA settings."""
    dropouts: tuple[float, ...] = setting((), "Dropout before the adapter", axis="dropout", placeholder="0.05")
    """Dropouts to compare. Default: the dropout of the LoRA settings."""
    target_sets: tuple[tuple[str, ...], ...] = setting((), "Other sets of target modules to compare", axis="targets")
    """Sets of target modules to compare; an empty one is the model's own list. Default: those of the LoRA settings."""
    learning_rates: tuple[float, ...] = setting((), "LoRA learning rate", axis="learning_rate")
    """Peak learning rates of LoRA to compare. Default: the learning rate of the training settings."""
    full_learning_rates: tuple[float, ...] = setting((), "Full fine-tuning learning rate", axis="learning_rate")
    """Peak learning rates of full fine-tuning, one run each. Default: the one measured for the model, or else 2e-5."""
    zero_shot: bool = setting(True, "Zero-shot: without training")
    """Add a zero-shot run: the base model without training."""
    full_fine_tuning: bool = setting(True, "Full fine-tuning: every weight")
    """Add a full fine-tuning run, which trains every weight."""
    references: bool = setting(True, "Linear model, gradient boosting and a constant")
    """Add three runs without a foundation model: logistic or ridge regression, gradient boosting, and a constant."""
    one_rate: bool = setting(False, "One learning rate for all ranks")
    """Train every rank at the same learning rate to the end. Else each tries three, and those behind stop early."""
    seeds: tuple[int, ...] = setting((0,), "Seeds", low=0, below=2**32)
    """Random seeds; every run is repeated with each of them."""

    def __post_init__(self) -> None:
        check(self)
        for name in (*AXES, "seeds"):  # before each value is checked, which takes time
            number = len(getattr(self, name))
            require(number <= MOST_RUNS, f"{name} has {number:,} values; at most {MOST_RUNS:,} runs go into one sweep.")
        idle = {
            "full_learning_rates": ("full fine-tuning; leave them out.", self.full_fine_tuning),
            **dict.fromkeys(LORA_AXES[1:], ("a LoRA rank; leave them out, or choose a rank.", bool(self.ranks))),
        }
        for name, axis in AXES.items():
            values = getattr(self, name)
            for value in values:
                self.run.changed(**{axis.axis: value})  # raises for an invalid value
            require(len(set(values)) == len(values), f"{name} {_listed(values)} contain a value twice.")
            without, used = idle.get(name, ("", True))
            require(used or not values, f"{name} {_listed(values)} change nothing without {without}")
        distinct = bool(self.seeds) and len(set(self.seeds)) == len(self.seeds)
        require(distinct, f"seeds {list(self.seeds)} must be one or more different numbers.")
        any_run = bool(self.ranks) or self.zero_shot or self.full_fine_tuning
        require(any_run, "Nothing to run: choose a rank or a baseline.")
        many = f"The sweep has {self.size:,} runs ({self.formula}); at most {MOST_RUNS:,} go into one."
        require(self.size <= MOST_RUNS, many)

    @property
    def halves(self) -> bool:
        """Whether runs of one rank with other rates stop at rungs where they fall behind."""
        return not self.one_rate and max(len(self.learning_rates), len(self.full_learning_rates)) > 1

    @property
    def size(self) -> int:
        """Number of runs."""
        references = len(REFERENCES) * self.references
        return len(self.seeds) * (self.zero_shot + self._full_runs + self._adapters + references)

    @property
    def formula(self) -> str:
        """How the number of runs is computed, for example ``3 ranks x 2 dropouts + 2 baselines, x 3 seeds``."""
        counts = {name: len(getattr(self, name)) for name in LORA_AXES}
        several = {_noun(name): count for name, count in counts.items() if count > (name != "ranks")}
        terms = [" x ".join(counted(count, noun) for noun, count in several.items())]
        if self._full_runs > 1:
            terms += ["zero-shot"] * self.zero_shot + [f"{self._full_runs} rates of full fine-tuning"]
        elif baselines := self.zero_shot + self._full_runs:
            terms.append(counted(baselines, "baseline"))
        terms += [counted(len(REFERENCES), "reference")] * self.references
        sums = " + ".join(filter(None, terms))
        return f"{sums}, x {len(self.seeds)} seeds" if len(self.seeds) > 1 else sums

    @property
    def _full_runs(self) -> int:
        return max(1, len(self.full_learning_rates)) if self.full_fine_tuning else 0

    @property
    def _adapters(self) -> int:
        return math.prod([len(self.ranks), *(max(1, len(getattr(self, name))) for name in LORA_AXES[1:])])

    def expand(self) -> list[RunSettings]:
        """Returns the single runs, seed by seed: those that train nothing, small ranks, full fine-tuning.

        Alpha None becomes twice the rank of each run. Full fine-tuning has its own learning rates and never uses
        LoRA's.
        """
        return [run for seed in self.seeds for run in self.one_seed(seed)]

    def one_seed(self, seed: int | None = None) -> list[RunSettings]:
        """Returns the runs of one seed, by default the first."""
        common = dataclasses.replace(self.run, seed=self.seeds[0] if seed is None else seed)
        runs = [common.with_strategy("inference")] if self.zero_shot else []
        references = REFERENCES if self.references else ()
        runs += [dataclasses.replace(common.with_strategy(reference), device="cpu") for reference in references]
        rates = (self.full_learning_rates or (None,)) if self.full_fine_tuning else ()
        full = [common.with_strategy("base-ft").changed(learning_rate=rate) for rate in rates]
        return [*runs, *self._grid(common), *full]

    def _grid(self, common: RunSettings) -> Iterator[RunSettings]:
        axes = {AXES[name].axis: getattr(self, name) or (common.value(AXES[name].axis),) for name in LORA_AXES}
        axes["rank"] = sorted(self.ranks)
        adapted = common.with_strategy("peft")
        for point in product(*axes.values()):
            yield adapted.changed(**dict(zip(axes, point, strict=True)))

    @classmethod
    def of(cls, runs: Sequence[RunSettings]) -> "SweepSettings":
        """Returns the sweep that the runs came from, or the smallest grid that contains them.

        Raises:
            SettingError: the grid is too large, or the runs differ in a setting that a sweep cannot list.
        """
        lora, full = ([run for run in runs if run.strategy == strategy] for strategy in ("peft", "base-ft"))
        listed = {"full_learning_rates": full, **dict.fromkeys(LORA_AXES[1:], lora)}
        values: dict[str, Any] = {
            name: tuple(dict.fromkeys(run.used(AXES[name].axis) for run in those))
            for name, those in listed.items()
            if len({run.value(AXES[name].axis) for run in those}) > 1
        }
        if full and full[0].train.learning_rate is not None:
            values.setdefault("full_learning_rates", (full[0].train.learning_rate,))
        common = min(runs, key=lambda run: (run.strategy != "peft", run.strategy in REFERENCES)).with_strategy("peft")
        made = cls(
            run=common if lora else common.changed(learning_rate=None),
            ranks=tuple(sorted({run.lora.rank for run in lora})),
            zero_shot=any(run.strategy == "inference" for run in runs),
            full_fine_tuning=bool(full),
            references=any(run.strategy in REFERENCES for run in runs),
            seeds=tuple(dict.fromkeys(run.seed for run in runs)),
            **values,
        )
        held = set(map(_as_used, made.expand()))
        odd = sum(_as_used(run) not in held for run in runs)
        why = f"{odd:,} of {len(runs):,} differ in what it cannot list"
        require(odd == 0, f"One sweep cannot hold these runs: {why}. Choose fewer.")
        return made

    def to_toml(self) -> str:
        """Writes the sweep as a TOML document from which ``from_toml`` makes the same runs.

        Axes without values and settings that another one replaces are left out, and the run's strategy and seed.
        """
        values = plain_values(dataclasses.asdict(self))
        replaced = {"rank", "strategy", "seed", *(AXES[name].axis for name in LORA_AXES if getattr(self, name))}
        for row in SETTINGS.values():
            idle = row.idle and row.idle.other in SETTINGS and self.run.value(row.idle.other) == row.idle.value
            if row.name in replaced or idle or self.run.is_replaced(row.name):
                section = values["run"][row.section] if row.section else values["run"]
                section.pop(row.name, None)
        written = {name: value for name, value in values.items() if value or name == "ranks" or name not in AXES}
        return tomli_w.dumps(written)

    @classmethod
    def from_toml(cls, text: str) -> "SweepSettings":
        """Reads a TOML document.

        Raises:
            SettingError: the text is not TOML, a name is unknown or a value is out of range.
        """
        read: SweepSettings = from_values(cls, read_toml(text, cls), "")
        return read


AXES: dict[str, Setting] = {row.name: row for row in rows_of(SweepSettings) if row.axis}
LORA_AXES = tuple(name for name in AXES if name != "full_learning_rates")
"""Axes of the grid of LoRA runs."""


def _as_used(run: RunSettings) -> RunSettings:
    """Fills in defaults and drops what the strategy does not use, so that two runs that do the same are equal."""
    lora, rate = LoraSettings(), run.learning_rate if run.strategy in ("peft", "base-ft") else None
    if run.strategy == "peft":
        lora = run.lora if run.lora.rank_pattern else dataclasses.replace(run.lora, alpha=run.lora.effective_alpha)
    return dataclasses.replace(run, lora=lora).changed(learning_rate=rate)


def _listed(values: tuple[Any, ...]) -> list[Any]:
    return [list(value) if isinstance(value, tuple) else value for value in values]


def _noun(axis: str) -> str:
    return "set of target modules" if axis == "target_sets" else axis.replace("_", " ").removesuffix("s")
