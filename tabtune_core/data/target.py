"""Proposes the column to predict, or a few to choose from, by the names, places and kinds of the columns.

A score is a sum of the weights below. They are log odds, chosen on 172 tables whose documentation names the target.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from tabtune_core.data.findings import Column
from tabtune_core.data.table import Table
from tabtune_core.metrics import Task

FEW_CLASSES, ROWS_PER_CLASS, MANY_CLASSES, CLASS_SHARE = 10, 3, 20, 0.05
Way = Literal["classes", "numbers", "halves"]
"""How a column is predicted: each value as a class, as numbers, or as two classes split at its median."""

LABELS, EVENTS, MEASURES, FEATURES = (
    frozenset(words.split())
    for words in (
        "target label labels outcome class classes y response dependent ziel zielvariable klasse",
        # what happens to a row, or its type: mostly classes
        """
        accepted admit admitted alive anomaly approval approved arrested attrition bankrupt bankruptcy bought buy
        cancelled canceled choice churn churned clicked complication conversion converted creditability cultivar dead
        death deceased decision default defaulted defect defective delayed denied diagnosis died disease dropout edible
        event exited failed failure fault fraud fraudulent graduated hired infected injured late left malignant
        mortality output passed placed placement poisonous positive prognosis promoted purchase purchased readmission
        readmitted recidivism recommended recurrence rejected relapse remission repaid responded result returned
        satisfaction satisfied sentiment severity spam species status stroke subscribed success survival survived toxic
        variety vote voted win winner won
        """,
        # outcomes that are measured, paid or counted: numbers
        """
        accidents amount birthweight bookings bwt casualties charges claims cnt compensation consumption cost costs
        count crime days deaths delay demand earnings emissions expenditure expenses fatalities gpa grade incidents
        injuries medv mileage mpg orders price production productivity profit progression quality rate rating rent
        rentals revenue ridership rings salary sale saleprice sold spending strength tip total trips turnover value
        visitors visits wage yield gehalt kosten lohn miete preis umsatz verbrauch
        """,
        # what is known before anything is predicted
        """
        account address age black block brand city client code color country county customer date day education email
        ethnicity experience female firm gender group height hour id index industry job lat latitude lon long longitude
        male marital minute model month name no number occupation patient phone product race region rownames season
        sector sex site source state store street subject tenure time title treat url user weekday weekend year zip
        jahr monat ort
        """,
    )
)
LABEL, EVENT, EVENT_IN_PART, MEASURE, MEASURE_IN_PART, FEATURE = 5.4, 4.9, 2.0, 4.3, 3.2, -2.0
FIRST, LAST, LAST_OF_TWO, TWO_VALUES, IN_TITLE, MANY_WORDS, SERIES = 2.0, 2.0, 1.5, 1.3, 3.0, -2.0, -3.0
"""SERIES is for a name that differs from at least two others only in its digits, such as item_1, item_2, item_3."""
SURE, MOST_ASKED, MOST_CLASSES, A_PHRASE, LONG = 0.8, 4, 50, 6, 5
"""SURE is the share of the likelihood from which one column is proposed; a name of A_PHRASE words is a question."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The column that is probably the one to predict, or several between which the person decides."""

    column: str | None
    """None where several are about as likely, and where every column is an id, empty or constant."""
    task: Task
    """Task of the column, or of the likeliest in ``near``."""
    reason: str
    """One sentence for the person who may choose another; empty beside ``near``."""
    near: tuple[str, ...] = ()
    """Two to four columns to choose from, the likeliest first; empty where one is proposed."""


def propose_target(table: Table, title: str = "", named: str = "") -> Proposal:
    """Proposes a target; ``title`` is the name of the file, ``named`` the target that its source names, if any."""

    def task(name: str) -> Task:
        return "regression" if ways_of(table.frame[name])[0] == "numbers" else "classification"

    if named in table.frame:
        return Proposal(named, task(named), f"The table's source names {named!r} as the target.")
    scores = target_scores(table, title)
    if not scores:
        return Proposal(None, "classification", "Every column is an id, a date, free text, constant or left out.")
    last = table.columns[-1].name
    best, *others = sorted(reversed([*scores]), key=lambda name: -scores[name])  # of equal ones, the last
    usual = name_weight(best, table.frame[best]) > 0
    share = 1 / sum(math.exp(score - scores[best]) for score in scores.values())
    if not others or (share >= SURE and (usual or best == last)):
        why = "is a usual name for the column to predict" if usual else "is the last column"
        return Proposal(best, task(best), f"{best!r} {why if usual or best == last else 'is the only one that fits'}.")
    near = [best, *others][:MOST_ASKED]
    if last in scores and last not in near:
        near[-1] = last
    return Proposal(None, task(best), "", tuple(near))


def target_scores(table: Table, title: str) -> dict[str, float]:
    """Returns how likely each column that can be predicted is the target, as log odds."""
    useless = {one.column for one in table.findings if one.code in ("id-like", "constant", "one-value", "all-missing")}
    usable = [
        column
        for column in table.columns
        if column.kind in ("number", "category", "boolean") and column.unique > 1 and column.name not in useless
    ]
    names = {column.name: name_weight(column.name, table.frame[column.name]) for column in usable}
    if {"x", "y"} <= {column.name.lower() for column in table.columns}:  # coordinates
        names |= {name: FEATURE for name in names if name.lower() in ("x", "y", "z")}
    stems = Counter(re.sub(r"\d+", "#", column.name) for column in table.columns)
    series = {name for name in names if stems[re.sub(r"\d+", "#", name)] > 2}
    of_title = {word for word in words_of(title.rsplit(".", 1)[0]) if len(word) > 2}
    titled = [name for name in names if names[name] >= 0 and any(_alike(word, of_title) for word in words_of(name))]
    ends = [name for name in names if names[name] >= 0 and name not in series] or [*names]

    def score(column: Column) -> float:
        name, words = column.name, column.kind != "number" and column.unique > MOST_CLASSES
        place = LAST * (name == ends[-1]) + LAST_OF_TWO * (name == table.columns[-1].name and column.unique == 2)
        place += FIRST * (name == ends[0] == usable[0].name != ends[-1])
        values = TWO_VALUES * (column.unique == 2) + MANY_WORDS * words
        return names[name] + place + values + IN_TITLE * (titled == [name]) + SERIES * (name in series)

    return {column.name: score(column) for column in usable}


def _alike(word: str, others: Iterable[str]) -> bool:
    return len(word) > 2 and any(word == other or word[:LONG] == other[:LONG] for other in others if len(other) > 2)


def words_of(name: str) -> list[str]:
    """Returns the words of a name in lower case, without accents, digits at their ends and the s of a plural.

    >>> words_of("hr_Attrition.csv"), words_of("SalePrice2"), words_of("Qualität")
    (['hr', 'attrition', 'csv'], ['sale', 'price'], ['qualitat'])
    """
    plain = unicodedata.normalize("NFKD", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).encode("ascii", "ignore").decode()
    return [word.strip("0123456789") or word for word in re.findall(r"[a-z0-9]+", plain.lower())]


def name_weight(name: str, values: pd.Series) -> float:
    """Returns the weight of a name: events and labels anywhere in it, measures of numbers, features at its end."""
    words = words_of(name)
    if not words or len(words) >= A_PHRASE:
        return 0.0

    def among(known: frozenset[str], *some: str) -> bool:
        return any(word in known or word.rstrip("s") in known for word in some)

    joined, numeric = "".join(words), is_numeric_dtype(values)
    if joined in LABELS or words[0] == "class" or {"target", "label"} & {*words}:
        return LABEL
    if among(EVENTS, joined) and joined != "status":
        return EVENT
    if among(EVENTS, *words) and not among(FEATURES, *words[:-1]) and (numeric or values.nunique() <= MOST_CLASSES):
        return EVENT_IN_PART
    if numeric and among(MEASURES, joined, words[-1]):
        return MEASURE if among(MEASURES, joined) else MEASURE_IN_PART
    return FEATURE if among(FEATURES, joined, words[-1]) else 0.0


def is_continuous(series: pd.Series) -> bool:
    """Whether a target is a measure and not classes: many numbers, with decimals or seldom recurring."""
    values = series.dropna()
    if not is_numeric_dtype(values) or values.nunique() <= FEW_CLASSES:
        return False
    return bool((values != np.floor(values)).any()) or (looks_counted(values) and _seldom(values))


def _seldom(values: pd.Series) -> bool:
    """Whether there are too many different whole numbers to be classes."""
    return values.nunique() > max(MANY_CLASSES, CLASS_SHARE * len(values))


def looks_counted(series: pd.Series) -> bool:
    """Whether whole numbers are more likely counts than classes: over twenty, some too rare for a class."""
    values = series.dropna()
    if not is_numeric_dtype(values) or is_bool_dtype(values):
        return False
    sizes = values.value_counts()
    return len(sizes) > MANY_CLASSES and bool(sizes.min() < ROWS_PER_CLASS)


def ways_of(series: pd.Series) -> tuple[Way, ...]:
    """Returns how a column can be predicted, the likeliest first.

    >>> ways_of(pd.Series(["yes", "no"])), ways_of(pd.Series([3, 4, 5, 4])), ways_of(pd.Series(range(50)) / 7)
    (('classes',), ('classes', 'numbers', 'halves'), ('numbers', 'halves'))
    """
    if not is_numeric_dtype(series) or is_bool_dtype(series) or series.nunique() <= 2:
        return ("classes",)
    halves: tuple[Way, ...] = ("halves",) if (series > series.median()).any() else ()
    if is_continuous(series):
        return ("numbers", *halves)
    counts = looks_counted(series) or _seldom(series.dropna())
    return ("numbers", "classes", *halves) if counts else ("classes", "numbers", *halves)
