"""Splits by a column: by time, or by group.

Shape letters: M rows with a label and a value in the column, U different values, S strata, P splits (train, validation,
test).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from tabtune_core.data.findings import Finding, absent
from tabtune_core.data.splits import (
    FEWEST_OF_A_CLASS,
    Rows,
    Split,
    SplitRule,
    check_shares,
    labelled_rows,
    sampled,
    strata_of,
)
from tabtune_core.data.values import column_kind, moments, numbers, seconds
from tabtune_core.errors import LabelError, SettingError
from tabtune_core.wording import counted, few

By = Literal["time", "group"]
MOST_MISSING = 0.5
DRAWS = 50
"""Number of random orders of the groups; the one whose parts are closest to their shares is used.

scikit-learn's GroupShuffleSplit counts groups instead of rows, and its StratifiedGroupKFold makes only equal parts.
"""
UNTRAINED = 10
"""Cost of a stratum without training rows; a stratum that another part lacks costs 1."""
USUAL_VALIDATION = 0.25
"""Share of the rows outside the test part."""
FAR_OFF = 1.5
"""A part that is larger or smaller than its share by this factor is reported."""
WAY_OUT = "Choose another column, other shares of the parts, or a split at random."


def split_by_column(frame: pd.DataFrame, column: str, labels: NDArray[np.object_], rule: SplitRule, *, by: By) -> Split:
    """Splits the labelled rows; rows without a value in the column are used for training only.

    ``labels`` has one label per row: a class as text, a number, or None where it is missing. A split by time tests on
    the latest rows and validates on those before, whatever the seed; rows with the same value stay together. A split by
    group draws whole groups, in an order that depends on the seed of ``rule``.

    Raises SettingError where the column cannot split the table, and LabelError where a part would have rows of one
    class only, or of a class that no training row has.
    """
    check_shares(rule.validation_share, rule.test_share)
    shares = {"validation": rule.validation_share} | ({"test": rule.test_share} if rule.test_share else {})
    labelled, strata = labelled_rows(labels), strata_of(labels)
    every_value = split_values(frame, column, by)
    values = every_value.iloc[labelled]
    known = values.notna().to_numpy()
    rows_M, values_M = labelled[known], values[known]
    _check(values, by, parts=len(shares) + 1)
    place_M, values_U = pd.factorize(values_M, sort=by == "time")
    if by == "time":
        part_U = _by_time(np.bincount(place_M), list(shares.values()))
    else:
        part_U = _by_group(place_M, strata[rows_M].astype(str), shares, rule)
    cut = {part: rows_M[part_U[place_M] == i] for i, part in enumerate(shares, 1)}
    train = np.setdiff1d(labelled, np.concatenate([*cut.values()]))
    held_out, lacking = cut, list[Finding]()
    if isinstance(labels[labelled[0]], str):
        held_out, lacking = _with_known_classes(cut, train, labels, f"The split by {by} on {column!r}")
    split = sampled(strata, train, held_out["validation"], held_out.get("test", train[:0]), rule)
    there = [every_value.iloc[rows] for rows in (split.train, split.validation, split.test)]
    description = _description(there, rule, column, by)
    if not known.all():
        description += f" Only trained on: {counted(int((~known).sum()), 'row')} without a value in it."
    if left_out := sum(len(rows) - len(held_out[part]) for part, rows in cut.items()):
        rare = f"{counted(left_out, 'row')} of classes with fewer than {FEWEST_OF_A_CLASS} rows"
        description += f" Left out of every part: {rare}."
    findings = [Finding("info", "split", f"Split by {by} on {column!r}: {description}", column)]
    for part, rows in cut.items():
        most = rule.validation_rows if part == "validation" else rule.test_rows
        wanted, size = min(shares[part] * len(rows_M), most), min(len(rows), most)
        if not wanted / FAR_OFF <= size <= FAR_OFF * wanted:
            off = f"The {part} part has {counted(size, 'row')}, but its share is {wanted:,.0f}"
            message = f"{off}: many rows have the same value of {column!r}."
            findings.append(Finding("warning", "split-size", message, column))
    if by == "group" and len(values_U) == len(rows_M):
        message = f"Each row has its own {column!r}: this is a split at random."
        findings.append(Finding("warning", "split-idle", message, column))
    return replace(split, findings=(*findings, *lacking))


def split_values(frame: pd.DataFrame, column: str, by: By) -> pd.Series:
    """Returns the values to split by; raises SettingError where there are none, or they cannot order rows."""
    names = [str(name) for name in frame.columns]
    if column not in names:
        raise SettingError(f"split_column is {column!r}. {absent(column, names)}")
    values = frame[column]
    if by == "group":
        return values
    kind = column_kind(values)
    if kind in ("date", "datetime"):
        return pd.Series(moments(values), values.index, name=column)
    if kind == "time":
        return pd.Series(pd.to_timedelta(seconds(values), unit="s"), values.index, name=column)
    number_N = pd.Series(numbers(values), values.index, name=column)
    if number_N.notna().sum() == values.notna().sum():
        return number_N.where(np.isfinite(number_N))
    held = f"holds words such as {values.dropna().iloc[0]!r}; a split by time needs dates or numbers"
    raise SettingError(f"split_column is {column!r}, which {held}. Choose another column, or read this one as a date.")


def _check(values: pd.Series, by: By, *, parts: int) -> None:
    """Raises SettingError for a column that is missing in most labelled rows or has too few different values."""
    missing, different, way_out = float(values.isna().mean()), values.nunique(), "Choose another one, or at random."
    if missing > MOST_MISSING:
        gaps = f"is missing in {missing:.0%} of the rows with a label; a split needs it in half of them"
        raise SettingError(f"split_column is {values.name!r}, which {gaps}. {way_out}")
    if different < parts:
        have = "is constant" if different == 1 else f"has {different} different values"
        needs = f"a split by {by} needs at least {parts}, one for each part"
        raise SettingError(f"split_column is {values.name!r}, which {have}; {needs}. {way_out}")


def _by_time(counts_U: NDArray[np.int64], shares: Sequence[float]) -> NDArray[np.int64]:
    """Returns the part of each value, earliest first; 0 is training. Cuts are as close to the shares as possible."""
    part_U, before_U, end = np.zeros(len(counts_U), dtype=np.int64), np.cumsum(counts_U) - counts_U, len(counts_U)
    taken = 0.0
    for part in range(len(shares), 0, -1):
        taken += shares[part - 1]
        first = part + int(np.abs(before_U[part:end] - (1 - taken) * counts_U.sum()).argmin())
        part_U[first:end], end = part, first
    return part_U


def _by_group(
    place_M: NDArray[np.int64], strata_M: NDArray[np.str_], shares: Mapping[str, float], rule: SplitRule
) -> NDArray[np.int64]:
    """Returns the part of each group; 0 is training.

    The test groups are drawn first, by their own seed and with the usual validation share, so that nothing else changes
    them. Then the other groups are divided anew, unless every draw would leave more strata untrained.
    """
    names, stratum_M = np.unique(strata_M, return_inverse=True)
    groups = int(place_M.max()) + 1
    counts_US = np.bincount(place_M * len(names) + stratum_M, minlength=groups * len(names)).reshape(groups, -1)
    if not rule.test_share:
        return _best_draw(counts_US, list(shares.values()), rule.seed)
    kept = 1 - shares["test"]
    part_U = _best_draw(counts_US, [USUAL_VALIDATION * kept, shares["test"]], rule.test_seed)
    rest = part_U < 2
    part_U[rest] = _best_draw(counts_US[rest], [shares["validation"] / kept], rule.seed, part_U[rest])
    return part_U


def _best_draw(
    counts_US: NDArray[np.int64], shares: Sequence[float], seed: int, fallback_U: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Returns the part of each group in the best of DRAWS random orders; ``fallback_U`` if all leave more untrained."""
    rng, groups, wanted_P = np.random.default_rng([seed, 2]), len(counts_US), np.array([1 - sum(shares), *shares])

    def off(part_U: NDArray[np.int64]) -> float:
        counts_PS = np.stack([counts_US[part_U == part].sum(axis=0) for part in range(len(wanted_P))])
        share_P = counts_PS.sum(axis=1) / counts_US.sum()
        shares_PS = np.column_stack([counts_PS / counts_US.sum(axis=0).clip(1), share_P])
        untrained, lacking = (counts_PS[0] == 0).sum(), (counts_PS[1:] == 0).sum()
        return float(np.abs(shares_PS - wanted_P[:, None]).mean() + UNTRAINED * untrained + lacking)

    best_U = np.zeros(groups, dtype=np.int64) if fallback_U is None else fallback_U
    lowest = np.inf if fallback_U is None else off(fallback_U) // 1 + UNTRAINED
    for _ in range(DRAWS):
        order_U, part_U = rng.permutation(groups), np.empty(groups, dtype=np.int64)
        part_U[order_U] = _by_time(counts_US[order_U].sum(axis=1), shares)
        if (this := off(part_U)) < lowest:
            best_U, lowest = part_U, this
    return best_U


def _description(parts: Sequence[pd.Series], rule: SplitRule, column: str, by: By) -> str:
    texts = []
    for there, does in zip(parts, ("trains", "validates", "tests"), strict=True):
        if len(there) and by == "time":
            first, last = _written(pd.Series([there.min(), there.max()], dtype=there.dtype))
            texts.append(f"{does} on {len(there):,} rows {f'from {first} to' if does != 'trains' else 'up to'} {last}")
        elif len(there):
            texts.append(f"{does} on {counted(len(there), 'row')} of {counted(there.nunique(), 'group')}")
    if by == "time":
        same = "Rows with the same value stay in one part, and the split is the same for every seed."
        return f"{', '.join(texts)}. {same}"
    test = f"; for every seed, the test groups are those of split seed {rule.test_seed}" if rule.test_share else ""
    seen = f"Each group is in one part only, and models do not see {column!r}."
    return f"{', '.join(texts)} (seed {rule.seed}{test}). {seen}"


def _written(values: pd.Series) -> list[str]:
    """Formats dates at midnight without a time, times of day without a date, and numbers."""
    if types.is_timedelta64_dtype(values):
        return [f"{pd.Timestamp(0) + value:%H:%M:%S}" for value in values]
    if not types.is_datetime64_any_dtype(values):
        return [f"{value:.15g}" for value in values]
    return [f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M:%S}" for value in values]


def _with_known_classes(
    held_out: Mapping[str, Rows], train: Rows, labels: NDArray[np.object_], split: str
) -> tuple[dict[str, Rows], list[Finding]]:
    """Returns the held-out rows without classes too rare to be split, and a finding for each part that lacks classes.

    A rare class stays in validation if training has it; not in the test rows, as another seed may leave it untrained.
    """
    sizes, trained, kept, findings = Counter(labels[labels != None]), set(labels[train]), {}, []  # noqa: E711 (element by element)
    usual = {name for name, count in sizes.items() if count >= FEWEST_OF_A_CLASS}
    for part, rows in held_out.items():
        unknown = sorted((set(labels[rows]) - trained) & usual)
        if unknown:
            has = f"{np.sum(labels[rows] == unknown[0]):,} {part} rows have it: a model could not learn it"
            raise LabelError(f"{split} leaves the class {unknown[0]!r} without a training row, and {has}. {WAY_OUT}")
        kept[part] = rows[np.isin(labels[rows], list(usual if part == "test" else trained))]
        there = set(labels[kept[part]])
        if len(there) < 2:
            named = f"of the class {next(iter(there))!r} alone" if there else "only of classes without training rows"
            raise LabelError(f"{split} gives {part} rows {named}, on which scores cannot tell models apart. {WAY_OUT}")
        if lacking := sorted(usual - there):
            names = few([*map(repr, lacking)], 5)
            message = f"{split} leaves no {part} row of {names}; means over classes leave them out there."
            findings.append(Finding("warning", f"split-{part}", message))
    return kept, findings
