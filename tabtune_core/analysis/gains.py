"""Differences of scores in words, always with their interval; no other module writes them.

In: a difference, or why it has no interval. Out: sentences, and parts of sentences.
"""

import math

from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.row_groups import OF_FAR_TARGETS, TooFew
from tabtune_core.metrics import TARGET_UNIT, Metric
from tabtune_core.settings import SplitBy
from tabtune_core.wording import counted

BETTER = "+ is better"
"""Added to a difference of a score where less is better: as in every table, a positive difference is an improvement."""
Measured = Difference | TooFew | None
"""What predictions say about a difference; None without predictions."""
UNIT: dict[SplitBy, str] = {"random": "row", "group": "group", "time": "block of time"}
"""What an interval counts as one."""


def beyond_noise(measured: Measured) -> int | None:
    """Returns 1 or -1 if the whole interval is above or below 0, 0 if it contains 0, None if there is no interval."""
    if not isinstance(measured, Difference):
        return None
    return 1 if measured.low > 0 else -1 if measured.high < 0 else 0


def too_few(lacking: TooFew, part: str) -> str:
    """Says why there is no interval: how many rows there effectively are, and how many it takes.

    >>> too_few(TooFew("random", "yes", 4, 5), "test")
    "too few test rows: effectively 4 rows with the class 'yes', at least 5 needed"
    """
    far = lacking.of_class == OF_FAR_TARGETS
    kind = " with a target far from the median" if far else f" with the class {lacking.of_class!r}"
    there = f"{counted(lacking.effective, UNIT[lacking.of])}{'' if lacking.of_class is None else kind}"
    return f"too few {part} rows: effectively {there}, at least {lacking.needed} needed"


def change(better_by: float, half: float, metric: Metric, size: float) -> str:
    """Writes an improvement: ``+0.0123 ± 0.0045 accuracy``, or ``+0.0123 ± 0.0045 nats of log-loss (+ is better)``.

    It has as many digits as fit a score of this ``size``; ``half`` is the ±, NaN if it is not known.
    """
    of = f"nats of {metric.written}" if metric.unit == "nats" else metric.written
    return amount(better_by, half, metric, size, signed=True, directed=True, unit=of)


def gain_over_zero_shot(gain: Difference, metric: Metric, *, size: float, part: str) -> str:
    """Writes the leaderboard's sentence about the LoRA that validation chose.

    >>> from tabtune_core.metrics import METRICS
    >>> gain_over_zero_shot(Difference(-0.07, 0.01, 100), METRICS["log_loss"], size=0.3, part="test")
    'On the test rows it worsens log-loss by 0.0700 nats over zero-shot, 95 % interval 0.0502 to 0.0898.'
    """
    where = "On the test rows" if part == "test" else "There are no test rows. On the validation rows"
    allows = "" if part == "test" else f" that allows for the choice among {gain.choices} evaluations"
    if not (sign := beyond_noise(gain)):
        around = between(gain.low, gain.high, metric, size)
        return f"{where} a gain in {metric.written} over zero-shot is not shown: {around} (95 % interval{allows})."
    ends = sorted(abs(end) for end in (gain.low, gain.high))
    finest = gain.half or gain.value
    value, low, high = metric.same_digits((abs(gain.value), *ends), max(abs(size), abs(finest)), finest)
    changes = f"{'improves' if sign > 0 else 'worsens'} {metric.written} by {value}{_unit(metric)} over zero-shot"
    return f"{where} it {changes}, 95 % interval {low} to {high}{allows}."


def versus(first: str, second: str, ahead: Measured, metric: Metric, *, size: float, part: str) -> str:
    """Writes a sentence about which of two is better; the difference is positive if the first is.

    >>> from tabtune_core.metrics import METRICS
    >>> versus("gradient boosting", "r=8", Difference(0.07, 0.01, 100), METRICS["log_loss"], size=0.3, part="test")
    'On the test rows gradient boosting is better than r=8 by 0.0700 ± 0.0198 nats.'
    """
    start = f"On the {part} rows {first}"
    if not isinstance(ahead, Difference):
        why = "predictions are missing" if ahead is None else too_few(ahead, part)
        return f"{start} and {second} cannot be told apart: {why}."
    sign = beyond_noise(ahead)
    if not sign:
        ends = between(ahead.low, ahead.high, metric, size)
        return f"{start} is not shown to be better or worse than {second}: {ends}."
    by = amount(abs(ahead.value), ahead.half, metric, size)
    return f"{start} is {'better' if sign > 0 else 'worse'} than {second} by {by}."


def between(low: float, high: float, metric: Metric, size: float) -> str:
    """Writes the ends of an interval of a difference that holds 0.

    >>> from tabtune_core.metrics import METRICS
    >>> between(-0.04, 0.06, METRICS["log_loss"], 0.3)
    'between -0.0400 and +0.0600 nats (+ is better)'
    """
    ends = metric.same_digits((low, high), max(abs(size), -low, high), min(-low, high) or max(-low, high), signed=True)
    return f"between {ends[0]} and {ends[1]}{_unit(metric, directed=True)}"


def amount(
    value: float,
    half: float,
    metric: Metric,
    size: float,
    *,
    signed: bool = False,
    directed: bool = False,
    unit: str | None = None,
) -> str:
    """Writes a difference with its ± (``half``, NaN if not known) and its unit, in digits that fit a score of ``size``.

    There are at least two digits of the ±; ``directed`` says that + is better if a smaller score is. ``unit`` replaces
    the score's own; if it is empty, no unit is named.

    >>> from tabtune_core.metrics import METRICS
    >>> amount(0.07, 0.02, METRICS["log_loss"], 0.3, signed=True), amount(0.07, math.nan, METRICS["accuracy"], 0.3)
    ('+0.0700 ± 0.0200 nats', '0.0700 (noise not known)')
    >>> amount(0.00012, 0.00003, METRICS["log_loss"], 0.3), amount(-7e-16, 2e-16, METRICS["mae"], 5e-15, directed=True)
    ('0.000120 ± 0.000030 nats', "-7.000e-16 ± 2.000e-16 (in the target's unit, + is better)")
    """
    known = not math.isnan(half)
    finest = half or value if known else value
    numbers = metric.same_digits(
        [value, half] if known else [value], max(abs(size), abs(finest)), finest, signed=signed
    )
    noise = f" ± {numbers[1].removeprefix('+')}" if known else ""
    return f"{numbers[0]}{noise}{_unit(metric, unit, directed=directed, known=known)}"


def _unit(metric: Metric, unit: str | None = None, *, directed: bool = False, known: bool = True) -> str:
    """Writes what stands behind a difference: its unit, and in brackets what else to know."""
    notes = ["in the target's unit"] * (metric.unit == TARGET_UNIT and unit != "")
    notes += [BETTER] * (directed and not metric.higher_is_better) + ["noise not known"] * (not known)
    of = "nats" * (metric.unit == "nats") if unit is None else unit
    return "".join(f" {part}" for part in (of, f"({', '.join(notes)})" if notes else "") if part)
