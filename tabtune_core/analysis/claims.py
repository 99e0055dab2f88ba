"""What may be claimed of the configuration that validation chose: its gain on the test rows, which chose nothing.

In: the leaderboard of a sweep, its comparison and predictions. Out: a claim.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from tabtune_core.analysis.comparison import Comparison, Load, replicates
from tabtune_core.analysis.gains import Measured, beyond_noise
from tabtune_core.analysis.intervals import GAINS
from tabtune_core.analysis.jackknife import Difference, difference
from tabtune_core.data.splits import SplitName
from tabtune_core.metrics import METRICS, Metric
from tabtune_core.settings import SplitBy
from tabtune_core.store.run_row import Run

Outcome = Literal["better", "worse", "unclear", "no gain", "too few", "not known"]
SIDES: dict[int | None, Outcome] = {1: "better", -1: "worse", 0: "unclear"}


@dataclass(frozen=True, slots=True)
class Claim:
    """The gain over zero-shot of one configuration, over all seeds under which it has a complete run."""

    runs: tuple[str, ...]
    """One per seed."""
    gain: float
    """On the validation rows, which chose the configuration, so it is biased upwards."""
    difference: Measured
    """The gain on the test rows (without test rows: on the validation rows), with its interval."""
    tested: bool
    """Whether there are test rows. Without them the interval allows for the choice among all evaluations."""
    units: SplitBy
    """What an interval counts as one: rows, groups or blocks of time."""

    @property
    def verdict(self) -> Outcome:
        """``better`` and ``worse`` are beyond the interval; ``no gain``: zero-shot was as good on validation rows."""
        if self.gain <= 0:
            return "no gain"
        if not isinstance(self.difference, Difference):
            return "not known" if self.difference is None else "too few"
        return SIDES[beyond_noise(self.difference)]

    @property
    def chooses_a_rank(self) -> bool:
        """Whether it makes sense to name the best rank: not if the pretrained model is the better choice."""
        return self.verdict in ("better", "too few", "not known")


def claim(comparison: Comparison, board: pd.DataFrame, rank_by: str, load: Load, *, evaluations: int = 0) -> Claim:
    """Returns the claim about the best LoRA configuration of ``comparison``, which must have one.

    Args:
        comparison: made from ``board``.
        board: the leaderboard of the sweep by ``rank_by``.
        rank_by: the metric.
        load: reads predictions.
        evaluations: number of evaluations on the validation rows by all runs, among which the state was chosen.
    """
    metric, lora = METRICS[rank_by], comparison.configurations[comparison.configurations["strategy"] == "peft"]
    runs = board.set_index("run").loc[list(lora.iloc[0]["own_runs"])].reset_index()
    gain, on_test = (_mean_gain(runs, metric, name, part) for name, part in GAINS.items())
    parts: dict[SplitName, list[SplitBy]] = {"test": [], "validation": []}
    for part, kinds in parts.items():
        kinds += [rows.split_by for run in runs["run"] if (rows := load(run, part)) is not None and len(rows.y_N)]
    tested = bool(parts["test"]) or not math.isnan(on_test)
    value = on_test if tested else gain
    each = replicates(list(runs["run"]), list(runs["seed"]), metric, load, "test" if tested else "validation")
    measured = None if math.isnan(value) else difference([final for final, _ in each], [before for _, before in each])
    if isinstance(measured, Difference):
        measured = dataclasses.replace(measured, value=value, choices=1 if tested else max(evaluations, 1))
    units: SplitBy = [*parts["test"], *parts["validation"], "random"][0]
    return Claim(tuple(runs["run"]), gain, measured, tested, units)


def on_one_page(measured: Sequence[Measured]) -> list[Measured]:
    """Widens the intervals of a page: at most 5 % of pages without an effect show one.

    Holm 1979, Scandinavian Journal of Statistics 6, 65-70: the surest allows for all, the next for all but one.
    """
    wide, undecided = list(measured), {k for k, one in enumerate(measured) if isinstance(one, Difference)}
    shown = undecided
    while undecided and shown:
        for k in undecided:
            if isinstance(one := measured[k], Difference):
                wide[k] = dataclasses.replace(one, choices=one.choices * len(undecided))
        shown = {k for k in undecided if beyond_noise(wide[k])}
        undecided = undecided - shown
    return wide


def earlier_sweeps(runs: Iterable[Run], sweep: str) -> int:
    """Counts the sweeps whose first score of LoRA on the test rows of ``sweep`` came before its own.

    Whoever keeps the sweep that claims a gain has chosen by these rows.
    """
    first: dict[tuple[str, str], float] = {}
    for run in runs:
        if run.settings.strategy == "peft" and run.result and run.result.test:
            key, time = (run.sweep, run.settings.test_set), run.ended or run.created
            first[key] = min(first.get(key, math.inf), time)
    own = {rows: time for (name, rows), time in first.items() if name == sweep}
    return len({name for (name, rows), time in first.items() if time < own.get(rows, -math.inf)})


def _mean_gain(runs: pd.DataFrame, metric: Metric, name: str, part: SplitName) -> float:
    """Returns the mean over the seeds; 0 if it is a rounding error."""
    gain, scores = (runs[column].astype("float64") for column in (name, f"{part}_{metric.name}"))
    mean = float(gain.mean())
    return mean if not abs(mean) <= metric.rounding(scores.abs().max()) else 0.0
