"""Finds two columns that together leak the target: their sum, difference, product or ratio is the target, up to a
constant factor.

For classes: a few cuts on it separate them. ``leakage.may_leak`` looks at single columns. In: a frame with its target
and the kinds of its columns. Out: findings. Shape letters: N rows, F columns, S rows of a first pass, P pairs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from tabtune_core.data.findings import Finding
from tabtune_core.data.leakage import FEWEST_ROWS, SAMPLE_ROWS, as_number

Numbers = NDArray[np.float64]

MOST_COLUMNS = 500
"""All pairs of 500 columns take about two seconds."""
FIRST_LOOK = 32
"""Rows on which every pair is tried; pairs that fit on most of them are tried on the sample, then on all rows."""
MOST = 0.75
NEARLY_ALL = 0.99
"""Share of the rows in which the formula must hold to be reported; also of the rows without the target's most frequent
value.
"""
ALONE = 0.95
"""A column that equals the target, or is constant, in this share of the rows is not paired."""
CLOSE = 1e-3
"""Largest relative error of a match: totals of rounded parts have smaller ones."""
SPREAD = 0.05
"""Largest error of a match, in standard deviations of the target: otherwise a calendar year off by two (0.1 %) would
match.
"""
EXACT = 1e-9
"""Relative error of sums and products of numbers that are right to the last digit of a file."""
FEWEST_TELLING = 20
"""Least number of rows in which the target does not have its most frequent value."""
MOST_NAMED = 5
MOST_CLASSES = 10
CLASS_LOOK, SLIPS = 64, 2
"""Rows on which classes are first looked at, and how many of them may lie among another class."""
MOST_TRIED = 500
"""Pairs that are tried on the sample, the clearest first."""
BY_CHANCE = 1e-6
"""Largest probability that one of all formulas separates the classes this well by chance, if each is as good as the
better column alone.
"""

FORMS: dict[str, Callable[[Numbers, Numbers], Numbers]] = {
    "+": np.add,
    "-": np.subtract,
    "×": np.multiply,
    "/": np.divide,
}


def pairs_that_give(frame: pd.DataFrame, kinds: Mapping[str, str], target: str) -> tuple[Finding, ...]:
    """Returns a finding for each pair of number columns that gives the target in at least 99 % of the rows that have
    all three.

    "Gives" means an identity within 0.1 %, or half a unit in the target's last place; even a good regression does not
    count. For classes it means that each lies between cuts (one fewer than classes, but two for two), which neither
    column's own cuts come near.
    """
    numeric = is_numeric_dtype(frame[target]) and not is_bool_dtype(frame[target])
    return (_that_equal(frame, kinds, target) if numeric else ()) or _that_separate(frame, kinds, target)


def _that_equal(frame: pd.DataFrame, kinds: Mapping[str, str], target: str) -> tuple[Finding, ...]:
    y_N = as_number(frame[target])
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(np.isfinite(y_N)))[:SAMPLE_ROWS]
    if len(chosen) < FEWEST_ROWS or len(np.unique(y_N[chosen])) < 3:
        return ()
    near, sample = _Near(y_N[chosen]), _sample(frame.iloc[chosen], kinds, target)
    sample = {name: x_N for name, x_N in sample.items() if near.judge(x_N).share < ALONE}
    pairs = []
    for sign, first, second in _first_pass(sample, near):
        if near.judge(_value(sign, sample[first], sample[second])).share >= NEARLY_ALL:
            judged = _Near(y_N).judge(_value(sign, as_number(frame[first]), as_number(frame[second])))
            if judged.share >= NEARLY_ALL:
                pairs.append((judged, _finding(first, sign, second, target, judged)))
    pairs.sort(key=lambda pair: (-pair[0].share, -pair[0].rows))
    return tuple(finding for _, finding in pairs[:MOST_NAMED])


def _sample(rows: pd.DataFrame, kinds: Mapping[str, str], target: str) -> dict[str, Numbers]:
    """Returns the columns of numbers that vary in these rows."""
    names = [
        str(name)
        for name in rows.columns
        if name != target and kinds.get(str(name)) == "number" and is_numeric_dtype(rows[name])
    ]
    numbers = {name: as_number(rows[name]) for name in names[:MOST_COLUMNS]}
    return {name: x_N for name, x_N in numbers.items() if _varies(x_N)}


def _varies(x_N: Numbers) -> bool:
    known = x_N[np.isfinite(x_N)]
    return 2 * len(known) >= len(x_N) and bool(np.unique(known, return_counts=True)[1].max() < ALONE * len(known))


def _value(sign: str, first: Numbers, second: Numbers) -> Numbers:
    with np.errstate(all="ignore"):
        return FORMS[sign](first, second)


@dataclass(frozen=True, slots=True)
class _Judged:
    """How well a formula gives the target."""

    share: float = 0.0
    """Share of matches in ``rows``, or in those of them without the target's most frequent value if that share is
    smaller.
    """
    rows: int = 0
    """Number of rows with a value of the formula and of the target."""
    factor: float = 1.0
    exact: bool = False
    """Whether the formula gives the matching rows to the last digit."""
    telling: int = 0
    """Number of ``rows`` without the target's most frequent class."""


class _Near:
    """Compares formulas with the target, within tolerances from the target's scale."""

    def __init__(self, y_N: Numbers) -> None:
        values, counts = np.unique(y_N[np.isfinite(y_N)], return_counts=True)
        rounding = np.diff(values).min() / 2
        self.y_N = y_N
        self.telling_N = y_N != values[counts.argmax()]
        self.close_N = np.minimum(np.maximum(CLOSE * np.abs(y_N), rounding), SPREAD * np.nanstd(y_N)) + EXACT * np.abs(
            y_N
        )

    def judge(self, f_N: Numbers) -> _Judged:
        """Judges a formula by its value in each row, nan where it has none."""
        known_N = np.isfinite(f_N) & np.isfinite(self.y_N)
        telling_N = known_N & self.telling_N
        factor = float(factors(self.y_N[None], f_N[None])[0])
        if known_N.sum() < FEWEST_ROWS or telling_N.sum() < FEWEST_TELLING or not np.isfinite(factor):
            return _Judged()
        error_N = np.abs(self.y_N - factor * f_N)
        given_N = known_N & (error_N <= self.close_N)
        share = min(float(given_N[known_N].mean()), float(given_N[telling_N].mean()))
        return _Judged(share, int(known_N.sum()), factor, bool((error_N <= EXACT * np.abs(self.y_N))[given_N].all()))


def factors(y_PN: Numbers, f_PN: Numbers) -> Numbers:
    """Returns the median of ``y / f`` of each pair, rounded to 1 or -1 when close to it; nan where there is none.

    >>> factors(np.array([[2.0, 4.0, 7.0]]), np.array([[1.0, 2.0, 3.0]])).tolist()
    [2.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_PN = np.where((y_PN != 0) & (f_PN != 0), y_PN / f_PN, np.nan)
    ratio_PN = np.sort(ratio_PN, axis=1)  # nan last
    middle_P = np.maximum(np.isfinite(ratio_PN).sum(axis=1) - 1, 0) // 2
    found_P = ratio_PN[np.arange(len(ratio_PN)), middle_P]
    return np.asarray(np.where(np.abs(np.abs(found_P) - 1) < CLOSE, np.sign(found_P), found_P))


def _first_pass(sample: Mapping[str, Numbers], near: _Near) -> Iterator[tuple[str, str, str]]:
    """Yields formulas that give the target in most of a few rows: ``(sign, first, second)``."""
    names = list(sample)
    rows_S = np.concatenate([np.flatnonzero(near.telling_N), np.flatnonzero(~near.telling_N)])[:FIRST_LOOK]
    y_S, close_S = near.y_N[rows_S], near.close_N[rows_S]
    x_FS = np.array([x_N[rows_S] for x_N in sample.values()])
    for place, first in enumerate(names):
        later_FS = x_FS[place + 1 :]
        with np.errstate(all="ignore"):
            formulas = [(sign, form(x_FS[place], later_FS)) for sign, form in FORMS.items()]
            formulas.append(("\\", later_FS / x_FS[place]))
            for sign, f_FS in formulas:
                known_FS = np.isfinite(f_FS)
                given_FS = np.abs(y_S - factors(np.broadcast_to(y_S, f_FS.shape), f_FS)[:, None] * f_FS) <= close_S
                enough_F = (known_FS.sum(axis=1) >= FIRST_LOOK // 8) & (
                    (given_FS & known_FS).sum(axis=1) >= MOST * known_FS.sum(axis=1)
                )
                for second in np.flatnonzero(enough_F):
                    other = names[place + 1 + second]
                    yield ("/", other, first) if sign == "\\" else (sign, first, other)


def _finding(first: str, sign: str, second: str, target: str, judged: _Judged, places: Sequence[float] = ()) -> Finding:
    factor = judged.factor
    if sign == "-" and factor < 0:
        first, second, factor = second, first, -factor
    formula = f"{first!r} {sign} {second!r}"
    if factor != 1:
        formula = f"{factor:.4g} × ({formula})" if sign in "+-" else f"{factor:.4g} × {formula}"
    where = (
        f"in all {judged.rows:,} rows"
        if judged.share == 1
        else f"in {int(1000 * judged.share) / 10} % of {judged.rows:,} rows"
    )
    close = "" if judged.exact else ", to within 0.1 % or rounding"
    cut = f", cut at {' and '.join(f'{place:.4g}' for place in places)}," if places else ""
    message = (
        f"{formula}{cut} gives {target!r} {where}{close}. Leave both out unless they are known before the outcome is."
    )
    return Finding("warning", "pair-leak", message, first, second)


def _that_separate(frame: pd.DataFrame, kinds: Mapping[str, str], target: str) -> tuple[Finding, ...]:
    y_N, classes = pd.factorize(frame[target])
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(y_N >= 0))[:SAMPLE_ROWS]
    if len(chosen) < FEWEST_ROWS or not 2 <= len(classes) <= MOST_CLASSES:
        return ()
    cuts, sample = _Cuts(y_N[chosen], max(2, len(classes) - 1)), _sample(frame.iloc[chosen], kinds, target)
    alone = {name: cuts.judge(x_N)[0].share for name, x_N in sample.items()}
    sample = {name: x_N for name, x_N in sample.items() if alone[name] < ALONE}
    tried = len(FORMS) * len(sample) ** 2
    found: dict[tuple[str, str], Finding] = {}
    for sign, first, second in _separating(sample, cuts):
        f_N = _value(sign, sample[first], sample[second])
        judged, places = cuts.judge(f_N)
        if judged.share < NEARLY_ALL or _by_chance(judged, max(alone[first], alone[second])) * tried >= BY_CHANCE:
            continue
        # a quotient has no value where the divisor is 0, and in the other rows one column may do as well
        there = [cuts.judge(np.where(np.isfinite(f_N), sample[name], np.nan))[0].share for name in (first, second)]
        if max(there) < ALONE and _by_chance(judged, max(there)) * tried < BY_CHANCE:
            whole, _ = _Cuts(y_N, cuts.number).judge(
                _value(sign, as_number(frame[first]), as_number(frame[second])), places
            )
            if whole.share >= NEARLY_ALL:
                found.setdefault((first, second), _finding(first, sign, second, target, whole, places))
        if len(found) == MOST_NAMED:
            break
    return tuple(found.values())


class _Cuts:
    """Cuts numbers where the classes change."""

    def __init__(self, y_N: NDArray[np.int64], number: int) -> None:
        self.y_N, self.number = y_N, number
        self.telling_N = (y_N >= 0) & (y_N != np.bincount(y_N[y_N >= 0]).argmax())

    def judge(self, f_N: Numbers, places: Sequence[float] | None = None) -> tuple[_Judged, list[float]]:
        """Judges a formula by its value in each row; returns the places of its best cuts too, unless they are given."""
        from sklearn.tree import DecisionTreeClassifier  # slow to import

        known_N = np.isfinite(f_N) & (np.abs(f_N) < np.finfo(np.float32).max) & (self.y_N >= 0)
        telling = int(self.telling_N[known_N].sum())
        if known_N.sum() < FEWEST_ROWS or telling < FEWEST_TELLING:
            return _Judged(), []
        f_K, y_K = f_N[known_N], self.y_N[known_N]
        if places is None:
            tree = DecisionTreeClassifier(max_leaf_nodes=self.number + 1, random_state=0).fit(f_K[:, None], y_K).tree_
            places = sorted(tree.threshold[tree.children_left >= 0].tolist())
        part_K = np.searchsorted(places, f_K)
        counts = np.bincount(part_K * (self.y_N.max() + 1) + y_K, minlength=(len(places) + 1) * (self.y_N.max() + 1))
        given_K = y_K == counts.reshape(len(places) + 1, -1).argmax(axis=1)[part_K]
        share = min(float(given_K.mean()), float(given_K[self.telling_N[known_N]].mean()))
        return _Judged(share, int(known_N.sum()), exact=True, telling=telling), list(places)


def _by_chance(judged: _Judged, alone: float) -> float:
    """Bounds the probability of such a share if each row were right with probability ``alone``: Hoeffding 1963, theorem
    1.
    """
    wrong = max(1 - judged.share, 1e-12)
    log = judged.share * np.log(alone / judged.share) + wrong * np.log((1 - alone) / wrong)
    return float(np.exp(judged.telling * log))


def _separating(sample: Mapping[str, Numbers], cuts: _Cuts) -> list[tuple[str, str, str]]:
    """Returns formulas that separate the classes in a few rows, the clearest first: ``(sign, first, second)``."""
    names = list(sample)
    rows_S = np.argsort(pd.Series(cuts.y_N).groupby(cuts.y_N).cumcount(), kind="stable")[
        :CLASS_LOOK
    ]  # of each class alike
    y_S = cuts.y_N[rows_S]
    x_FS = np.array([x_N[rows_S] for x_N in sample.values()])
    found = []
    for place, first in enumerate(names):
        for sign in FORMS:
            f_FS = _value(sign, x_FS[place], x_FS[place + 1 :])
            y_FS = np.take_along_axis(np.where(np.isfinite(f_FS), y_S, -1), np.argsort(f_FS, axis=1), axis=1)
            changes_F = (np.diff(y_FS, axis=1) != 0).sum(axis=1) - (y_FS == -1).any(axis=1)
            for second in np.flatnonzero(changes_F <= cuts.number + 2 * SLIPS):
                found.append((changes_F[second], sign, first, names[place + 1 + second]))
    found.sort(key=lambda one: one[0])
    return [(sign, first, second) for _, sign, first, second in found[:MOST_TRIED]]
