"""Differences of scores in words, always with their interval; no other module writes them.

In: a difference, or why it has no interval. Out: sentences, and parts of sentences.
"""

import math

from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr

from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.row_groups import OF_FAR_TARGETS, TooFew
from tabtune_core.metrics import TARGET_UNIT, Metric
from tabtune_core.settings import SplitBy
from tabtune_core.wording import counted

BETTER = "+ is better"
"""Added to a difference of a score where less is better: as in every table, a positive difference is an improvement."""
Found = Difference | TooFew | None
"""What predictions say about a difference; None without predictions."""
UNIT: dict[SplitBy, str] = {"random": "row", "group": "group", "time": "block of time"}
"""What an interval counts as one."""


def beyond_noise(found: Found) -> int | None:
    """Returns 1 or -1 if the whole interval is above or below 0, 0 if it contains 0, and None if there is no interval."""  # noqa: E501
    if not isinstance(found, Difference):
        return None
    return 1 if found.low > 0 else -1 if found.high < 0 else 0


def too_few(found: TooFew, part: str) -> str:
    """Says why there is no interval, and how many rows it takes."""
    unit = UNIT[found.of]
    of_class = (
        " with a target that is not near the median"
        if found.of_class == OF_FAR_TARGETS
        else f" with the class {found.of_class!r}"
    )
    which = "" if found.of_class is None else of_class
    there = counted(found.there, f"different {unit}" if found.of == "random" and found.there != found.found else unit)
    differing = "numbers of copies" if found.of == "random" else "sizes"
    as_equal = (
        f", which count as about {found.found} because their {differing} differ" if found.there != found.found else ""
    )
    return f"the {part} rows are too few to tell (they hold {there}{which}{as_equal}, and it takes {found.needed})"


def change(better_by: float, half: float, metric: Metric, size: float) -> str:
    """Writes an improvement: ``+0.0123 ± 0.0045 accuracy``, or ``+0.0123 ± 0.0045 nats of log-loss (+ is better)``.

    It has as many digits as fit a score of this ``size``; ``half`` is the ±, NaN if it is not known.
    """
    of = f"nats of {metric.written}" if metric.unit == "nats" else metric.written
    return amount(better_by, half, metric, size, signed=True, directed=True, unit=of)


def gain_over_zero_shot(found: Difference, metric: Metric, *, size: float, part: str) -> str:
    """Writes the leaderboard's sentence about the LoRA that validation chose.

    >>> from tabtune_core.metrics import METRICS
    >>> gain_over_zero_shot(Difference(0.07, 0.01, 100), METRICS["log_loss"], size=0.3, part="test")
    'On the test rows it improves log-loss by 0.0700 nats over zero-shot, 95 % interval 0.0502 to 0.0898.'
    """
    where = "On the test rows" if part == "test" else "There are no test rows. On the validation rows"
    among = "configurations" if part == "test" else "evaluations"
    allows = f" that allows for the choice among {found.choices} {among}" if found.choices > 1 or part != "test" else ""
    ends, finest = (found.value, found.low, found.high), found.half or found.value
    size = max(abs(size), abs(finest))
    unit = {"nats": " nats", TARGET_UNIT: " (in the target's unit)"}.get(metric.unit, "")
    sign, by = beyond_noise(found), metric.alike(ends, size, finest, signed=True)
    if sign == 1:
        value, low, high = (one.removeprefix("+") for one in by)
        return (
            f"{where} it improves {metric.written} by {value}{unit} over zero-shot, 95 % interval {low} to "
            f"{high}{allows}."
        )
    moved = (
        f"{by[0]}{unit}, 95 % interval {by[1]} to {by[2]}{allows}{'' if metric.higher_is_better else f' ({BETTER})'}"
    )
    what = (
        f"worsens {metric.written} compared with zero-shot"
        if sign
        else f"makes no difference to {metric.written} beyond noise"
    )
    return f"{where} it {what}: {moved}."


def effect(what: str, gain: float, half: float, metric: Metric, *, size: float, part: str) -> str:
    """Writes a sentence about what something does to a score.

    ``half`` is the ±, NaN if it is not known; ``size`` is a score like those compared; ``part`` names the rows.

    >>> from tabtune_core.metrics import METRICS
    >>> effect("Rank 8", 0.07, 0.02, METRICS["log_loss"], size=0.3, part="test")
    'Rank 8 improves log-loss on the test rows by 0.0700 ± 0.0200 nats.'
    >>> effect("Rank 8", 0.004, 0.02, METRICS["accuracy"], size=0.3, part="test")
    'Rank 8 makes no difference to accuracy on the test rows beyond noise: +0.0040 ± 0.0200.'
    """
    of = f"{metric.written} on the {part} rows"
    if math.isnan(gain + half):
        return f"How much {what[0].lower()}{what[1:]} changes {of} is not known."
    if abs(gain) <= half:
        return (
            f"{what} makes no difference to {of} beyond noise: "
            f"{amount(gain, half, metric, size, signed=True, directed=True)}."
        )
    return f"{what} {'improves' if gain > 0 else 'worsens'} {of} by {amount(abs(gain), half, metric, size)}."


def versus(first: str, second: str, found: Found, metric: Metric, *, size: float, part: str) -> str:
    """Writes a sentence about which of two is better; the difference is positive if the first is.

    >>> from tabtune_core.metrics import METRICS
    >>> versus("gradient boosting", "r=8", Difference(0.07, 0.01, 100), METRICS["log_loss"], size=0.3, part="test")
    'On the test rows gradient boosting is better than r=8 by 0.0700 ± 0.0198 nats.'
    """
    start = f"On the {part} rows {first}"
    if not isinstance(found, Difference):
        why = "predictions are missing" if found is None else too_few(found, part)
        return f"{start} and {second} cannot be told apart: {why}."
    sign = beyond_noise(found)
    if not sign:
        by = amount(found.value, found.half, metric, size, signed=True, directed=True)
        return f"{start} and {second} do not differ beyond noise: {by}."
    return (
        f"{start} is {'better' if sign > 0 else 'worse'} than {second} by "
        f"{amount(abs(found.value), found.half, metric, size)}."
    )


def corrected(found: Difference) -> float:
    """Corrects a claimed gain for selection: gains within their interval are not claimed, so small claimed gains are
    overstated.

    Returns the true gain, at least 0, under which the one found is most likely given that it is beyond its interval
    (Zhong and Prentice 2008, Biostatistics 9, 621-634, their first estimator). For true gains of 1.1 to 3 standard
    errors it returns 0.8 to 0.9 of them on average; the uncorrected gains are 2.3 to 1.1 times as large.
    """
    if not found.error:
        return found.value
    z, least = found.value / found.error, found.quantile
    best = minimize_scalar(lambda true: (z - true) ** 2 / 2 + log_ndtr(true - least), bounds=(0, z), method="bounded")
    return float(best.x) * found.error


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
    """Writes a difference with its ± (``half``, NaN if not known) and its unit, in digits that fit a score of this
    ``size``.

    There are at least two digits of the ±; ``directed`` says that + is better if a smaller score is. ``unit`` replaces
    the score's own; if it is empty, no unit is named.

    >>> from tabtune_core.metrics import METRICS
    >>> amount(0.07, 0.02, METRICS["log_loss"], 0.3, signed=True), amount(0.07, math.nan, METRICS["accuracy"], 0.3)
    ('+0.0700 ± 0.0200 nats', '0.0700 (noise not known)')
    >>> amount(0.00012, 0.00003, METRICS["log_loss"], 0.3), amount(-7e-16, 2e-16, METRICS["mae"], 5e-15, directed=True)
    ('0.000120 ± 0.000030 nats', "-7.000e-16 ± 2.000e-16 (in the target's unit, + is better)")
    """
    finest = value if math.isnan(half) else half or value
    size = max(abs(size), abs(finest))
    written, *noise = metric.alike([value] if math.isnan(half) else [value, half], size, finest, signed=signed)
    notes = ["in the target's unit"] * (metric.unit == TARGET_UNIT and unit != "")
    notes += [BETTER] * (directed and not metric.higher_is_better) + ["noise not known"] * math.isnan(half)
    of = "nats" * (metric.unit == "nats") if unit is None else unit
    said = (written, *(f"± {one.removeprefix('+')}" for one in noise), of, f"({', '.join(notes)})" if notes else "")
    return " ".join(filter(None, said))
