"""The answer of a sweep in few words, over all that it compared: LoRA, full fine-tuning, zero-shot and references.

In: the claim about LoRA, and how its rivals compare with it. Out: what to use, why, and the numbers under it.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tabtune_core.analysis.against_references import CLASSIC, NAMES, Rival
from tabtune_core.analysis.claims import Claim
from tabtune_core.analysis.comparison import COSTS, Load, label_of, replicates, smallest_tied
from tabtune_core.analysis.gains import Measured, beyond_noise
from tabtune_core.analysis.jackknife import Difference, difference
from tabtune_core.data.splits import SplitName
from tabtune_core.metrics import METRICS, Metric, Task
from tabtune_core.settings import REFERENCES, TRAINED, Strategy
from tabtune_core.wording import decimal

CANNOT_TELL = "Cannot tell"
NO_BETTER = "No run beats a constant"
SECOND: dict[Task, str] = {"classification": "accuracy", "regression": "r2"}
"""The score that people know, beside the one that ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to use, and the numbers of the LoRA configuration that was compared; NaN where a number is unknown."""

    headline: str
    """In few words, for example ``Take LoRA r=2``."""
    choice: Strategy | None
    """What to use; None if the sweep cannot tell."""
    lora: str
    """Name of the LoRA configuration, for example ``r=2``."""
    run: str
    """One of its runs."""
    gain: Measured
    """Its gain over zero-shot on the rows of ``part``."""
    part: SplitName
    """The rows of the scores: ``test``, or ``validation`` without test rows."""
    metric: str
    scores: dict[str, tuple[float, float]]
    """Of zero-shot and of the LoRA configuration: the score that people know, and ``metric``."""
    costs: dict[str, float]
    """Its COSTS."""
    classic: Rival | None
    """The reference with the best validation score, beside LoRA or, if that gained nothing there, zero-shot."""

    @property
    def uses_an_adapter(self) -> bool:
        """Whether the adapter may be used: no reference and no constant is the better choice."""
        return self.headline != NO_BETTER and self.choice not in (*REFERENCES, "inference")


def decide(claim: Claim, classic: Rival | None, full: Rival | None, metric: Metric) -> Strategy | None:
    """Returns what to use: the cheapest that nothing dearer is ahead of by more than one standard error.

    Whatever is better beyond noise is used. None: something dearer is ahead, but the test rows do not decide.
    """
    model: Strategy | None = "inference"
    if claim.verdict == "better":
        model = "peft"
    elif claim.verdict in ("too few", "not known") or (claim.verdict == "unclear" and is_ahead(claim.difference)):
        model = None
    full_wins = full is not None and beyond_noise(full.ahead) == 1 and claim.verdict not in ("worse", "too few")
    if full is not None and full_wins:
        model = "base-ft"
    if classic is None:
        return model
    sign = beyond_noise(classic.ahead)
    leads = metric.better(classic.score, full.score if full is not None and full_wins else classic.ours)
    if sign == 1:
        beats_zero_shot = claim.verdict != "worse"
        return (classic.strategy if beats_zero_shot else None) if leads or not full_wins else model
    if sign == -1 or model is None:
        return model
    if sign == 0 and not full_wins and not is_ahead(classic.ahead, -1):
        return classic.strategy
    return None if sign == 0 or leads else model


def is_ahead(measured: Measured, side: int = 1) -> bool:
    """Whether a difference is more than one standard error above 0, or with ``side`` -1 below it."""
    return isinstance(measured, Difference) and side * measured.value > measured.error


def headline(choice: Strategy | None, lora: str) -> str:
    """Returns the verdict in few words.

    >>> headline("peft", "r=2"), headline("boosting", "r=2"), headline(None, "r=2")
    ('Take LoRA r=2', 'Use gradient boosting', 'Cannot tell')
    """
    return CANNOT_TELL if choice is None else f"Take LoRA {lora}" if choice == "peft" else f"Use {NAMES[choice]}"


def reason(choice: Strategy | None, claim: Claim, classic: Rival | None, lora: str) -> str:
    """Returns the advice as a sentence, with its reason where the test rows did not decide."""
    head = headline(choice, lora)
    ours = f"LoRA {lora}" if claim.gain > 0 else NAMES["inference"]
    undecided = classic is not None and beyond_noise(classic.ahead) == 0
    if classic is not None and choice == classic.strategy and undecided:
        seconds = "" if math.isnan(classic.seconds) else f" and trained in {decimal(classic.seconds, 1)} s"
        return f"{head}: {ours} is not shown to be better, and {classic.name} needs no foundation model{seconds}."
    if choice == "inference" and claim.verdict == "unclear":
        return f"{head}: it needs no training, and a gain is not shown."
    if choice is not None:
        return f"{head}."
    if claim.verdict in ("too few", "not known"):
        return f"{head} what to use: hold out more test rows."
    if claim.verdict == "unclear" and is_ahead(claim.difference):
        return f"{head}: {ours} is ahead of the model as it is, but not beyond noise. Until then, training is optional."
    return f"{head}: {ours} and {classic.name if classic else 'the others'} are not shown to differ."


def verdict_of(
    table: pd.DataFrame, claim: Claim, rivals: Sequence[Rival], constant: Rival | None, rank_by: str, load: Load
) -> Verdict:
    """Returns the answer with the numbers of the best LoRA, or of the smallest rank as good if it gains as surely.

    ``table`` holds the configurations of a comparison.
    """
    metric, lora = METRICS[rank_by], table[table["strategy"] == "peft"]
    classic, full = (next((one for one in rivals if one.strategy in names), None) for names in (CLASSIC, TRAINED))
    choice, named, gain = decide(claim, classic, full, metric), lora.iloc[0], claim.difference
    smaller = smallest_tied(table)
    if choice == "peft" and smaller is not None and smaller.name != named.name and isinstance(gain, Difference):
        own_runs = list(smaller["own_runs"])
        each = replicates(own_runs, list(range(len(own_runs))), metric, load, "test")
        own = difference([final for final, _ in each], [before for _, before in each])
        own = dataclasses.replace(own, choices=gain.choices) if isinstance(own, Difference) else own
        named, gain = (smaller, own) if beyond_noise(own) == 1 else (named, gain)
    scores = [*table["score"], *(one.score for one in rivals)]
    beaten = constant is not None and not any(metric.better(one, constant.score) for one in scores)
    part: SplitName = "test" if claim.tested else "validation"
    name, runs = label_of(lora, named), tuple(named["own_runs"])
    return Verdict(
        headline=NO_BETTER if beaten else headline(choice, name),
        choice=None if beaten else choice,
        lora=name,
        run=runs[0],
        gain=gain,
        part=part,
        metric=rank_by,
        scores={each: mean_scores(each, load, runs, part) for each in (SECOND[metric.task], rank_by)},
        costs={cost: float(named[cost]) for cost in COSTS},
        classic=classic,
    )


def mean_scores(name: str, load: Load, runs: tuple[str, ...], part: SplitName) -> tuple[float, float]:
    """Returns the mean score of runs before and after training; NaN without predictions."""
    metric = METRICS[name]
    before, after = [], []
    for run in runs:
        rows = load(run, part)
        if rows is None or rows.zero_shot is None or not len(rows.y_N):
            return math.nan, math.nan
        before.append(metric.score(rows.y_N, rows.zero_shot, rarer=rows.rarer))
        after.append(metric.score(rows.y_N, rows.predicted, rarer=rows.rarer))
    return float(np.mean(before)), float(np.mean(after))
