"""Splits rows at random into training, validation and test rows: seeded and stratified.

One seed draws the test rows, once for a table; the other splits the rest, the same for every run with this seed.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tabtune_core.data.findings import Finding
from tabtune_core.errors import LabelError

Rows = NDArray[np.int64]
SplitName = Literal["validation", "test"]
"""The parts that are held out from training."""
FEWEST_OF_A_CLASS = 3
"""Fewest rows of a class that is in all parts; a rarer class stays with the training rows."""


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of the table, ascending; rows without a label are left out."""

    train: Rows
    validation: Rows
    test: Rows
    context: Rows
    """The context rows of a prediction: all training rows, or a stratified sample."""
    findings: tuple[Finding, ...] = ()
    """What to know about a split by time or by group, or with test rows that move."""


@dataclass(frozen=True, slots=True)
class SplitSizes:
    """How many rows each part has, before a run limits the held-out rows of a split at random."""

    train: int
    validation: int
    test: int

    @classmethod
    def plan(cls, class_rows: NDArray[np.int64], validation_share: float, test_share: float) -> "SplitSizes":
        """Computes the sizes of a split at random from the rows of each stratum; raises LabelError for too few rows.

        >>> SplitSizes.plan(np.array([60, 40, 2]), validation_share=0.2, test_share=0.2)
        SplitSizes(train=62, validation=20, test=20)
        """
        check_shares(validation_share, test_share)
        usual = class_rows[class_rows >= FEWEST_OF_A_CLASS]
        if len(usual) < 2:
            few = f"{len(class_rows)} classes, of which {len(usual)} have at least {FEWEST_OF_A_CLASS} rows"
            raise LabelError(f"The target has {few}; two must have. Add rows, or choose another column to predict.")
        shares = (validation_share, test_share)
        held_out = [max(len(usual), round(share * int(usual.sum()))) if share else 0 for share in shares]
        if sum(held_out) + len(usual) > usual.sum():
            few = f"{class_rows.sum():,} labelled rows are too few for {len(class_rows)} classes in each part"
            raise LabelError(f"{few} of the split. Add rows, or group rare classes (setting group_rare_classes=5).")
        return cls(int(class_rows.sum()) - sum(held_out), *held_out)


def labelled_rows(labels: NDArray[np.object_]) -> Rows:
    """Returns the numbers of the rows with a label; a missing label is None."""
    return np.flatnonzero([label is not None for label in labels])


def strata_of(labels: NDArray[np.object_]) -> NDArray[np.object_]:
    """Returns the strata whose proportions a split keeps: the classes, or up to ten equal groups of numbers by rank."""
    known = labelled_rows(labels)
    if not len(known) or isinstance(labels[known[0]], str):
        return labels
    strata = np.full(len(labels), None, dtype=object)
    sizes = group_rows(len(known))
    order = known[np.argsort(labels[known].astype(float), kind="stable")]
    strata[order] = [f"group {group}" for group in np.repeat(np.arange(len(sizes)), sizes)]
    return strata


def check_shares(validation_share: float, test_share: float) -> None:
    """Raises LabelError where no row is left to train on."""
    if validation_share + test_share >= 1:
        shares = f"validation_share is {validation_share:g} and test_share is {test_share:g}"
        raise LabelError(f"{shares}: together they leave no row to train on. Make one smaller; 0.2 is usual.")


def group_rows(rows: int) -> NDArray[np.int64]:
    """Returns the size of each group that ``strata_of`` makes of ``rows`` numbers."""
    groups = max(2, min(10, rows // 10))
    return np.bincount(np.arange(rows) * groups // rows, minlength=groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """How rows are drawn and how many, for every kind of split."""

    seed: int
    """Seed of the shuffles and samples."""
    test_seed: int
    """Seed of the test rows."""
    validation_share: float
    """Share of the rows with a label and, in a split by a column, with a value there."""
    test_share: float
    """The same; 0 for a table whose test rows are elsewhere."""
    context_rows: int | None
    """Most rows in ``context``; None for all training rows.

    With the same seed, a smaller context is part of every larger one.
    """
    validation_rows: int
    """Most rows in ``validation``."""
    test_rows: int
    """Most rows in ``test``."""


def split_rows(labels: NDArray[np.object_], rule: SplitRule) -> Split:
    """Splits the labelled rows; ``labels`` has one label per row of the table, None where it is missing.

    A class with fewer than three rows cannot be in all parts and stays with the training rows. Raises LabelError for
    too few rows.
    """
    from sklearn.model_selection import (
        train_test_split,  # half a second to import, which planning a split does not need
    )

    labelled = labelled_rows(labels)
    _, ids, counts = np.unique(labels[labelled].astype(str), return_inverse=True, return_counts=True)
    sizes = SplitSizes.plan(counts, rule.validation_share, rule.test_share)
    rare = counts[ids] < FEWEST_OF_A_CLASS
    spread = labelled[~rare]
    rest, test = spread, spread[:0]
    if sizes.test:
        rest, test = train_test_split(
            spread, test_size=sizes.test, random_state=rule.test_seed, stratify=labels[spread].astype(str)
        )
        rest, test = _with_every_class(labels, rest, test, left=2)
    strata = labels[rest].astype(str)
    recurring = np.unique(strata, return_counts=True)[1].min() >= 2
    train, validation = train_test_split(
        rest, test_size=sizes.validation, random_state=rule.seed, stratify=strata if recurring else None
    )
    train, validation = _with_every_class(labels, train, validation, left=1)
    train = np.concatenate([train, labelled[rare]])
    return sampled(labels, train, validation, test, rule)


def sampled(labels: NDArray[np.object_], train: Rows, validation: Rows, test: Rows, rule: SplitRule) -> Split:
    """Returns the split of these rows, sorted and limited to the sizes that ``rule`` allows."""
    rng = np.random.default_rng([rule.seed, 0])
    test_rng = np.random.default_rng([rule.test_seed, 0])

    def at_most(rows: Rows, most: int, rng: np.random.Generator = rng) -> Rows:
        rows = np.sort(rows)
        return rows[sample_rows(labels[rows].astype(str), most, rng)]

    # drawn before the context, so that they do not depend on its size
    validation, test = at_most(validation, rule.validation_rows), at_most(test, rule.test_rows, test_rng)
    train = np.sort(train)
    return Split(train, validation, test, at_most(train, rule.context_rows or len(train)))


def _with_every_class(labels: NDArray[np.object_], rest: Rows, part: Rows, *, left: int) -> tuple[Rows, Rows]:
    """Swaps rows so that every class with enough rows has one in ``part`` and ``left`` in ``rest``, despite rounding.

    For each row moved, one row of the most frequent class moves the other way.
    """

    def swapped(first: Rows, second: Rows, name: object) -> tuple[Rows, Rows]:
        moved = first[labels[first] == name][:1]
        back = second[labels[second] == Counter(labels[second]).most_common(1)[0][0]][:1]
        return np.append(first[first != moved], back), np.append(second[second != back], moved)

    total, of_part = Counter(labels[rest]) + Counter(labels[part]), Counter(labels[part])
    for name, rows in total.items():
        if not of_part[name]:
            rest, part = swapped(rest, part, name)
        elif rows - of_part[name] < left:
            part, rest = swapped(part, rest, name)
    return rest, part


def sample_rows(values: NDArray[np.str_], rows: int, rng: np.random.Generator) -> Rows:
    """Returns sorted positions of ``rows`` values drawn at random, or all, with at least one of every class."""
    if len(values) <= rows:
        return np.arange(len(values))
    order = rng.permutation(len(values))
    _, first = np.unique(values[order], return_index=True)
    kept = np.zeros(len(values), dtype=bool)
    kept[order[first]] = True
    rest = order[~kept[order]]
    kept[rest[: max(0, rows - len(first))]] = True
    return np.flatnonzero(kept)
