"""Are the models in the box better than classic methods on real tables, without any training?

``python tests/benchmarks/minis_against_classics.py --cache scores.json`` prints Markdown; with ``--write`` it goes into
the documentation, and the scores table by table into ``minis_against_classics.csv`` here. The tables are those of
``real_tables.py``, which says what to install. Two lists are of tables on which the minis were looked at while they
were made, one, "unseen", is not.

Tables of 1,000 to 10,000 rows are lists of their own, ``--lists larger "larger numbers"``: of one split, with at most
4,096 rows given and 2,048 asked. There the classics are the product's own linear model and boosting and a forest, and
with ``--lora`` the models after LoRA of rank 8 come in; scores go into ``larger_tables.csv``. ``choices`` and ``choices
of numbers`` are compared in the same way; only by them may weights be chosen.

In the other lists half of the rows, at most 500, are what ``fit`` of a model's pipeline and of a classic are given; at
most 500 of the other half are the test; mean of 5 splits, then of the tables. The minis are pipelines with the strategy
"inference", as users call them: they are shown all rows that they are given, which is checked. Classics get the
features as the product encodes them (categories as ordinals); logistic regression, ridge and kNN get one-hot categories
and scaled numbers. For the log-loss every probability is held to at least 0.001, whosever it is: a forest or kNN that
says 0 and errs would have a loss without end.

The cache keeps every score by table and model (a model's key has the hash of its weights), so that a second call costs
what is new in it. Delete the file when the code that predicts has changed. Shape letters: C context rows, Q query rows,
F features, K classes.
"""

import argparse
import itertools
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import markdown_table, write_block
from real_tables import (
    CHOICES,
    CHOICES_MEASURED,
    CHOICES_NUMBERS,
    CLASSIFICATION,
    LARGER,
    LARGER_NUMBERS,
    REGRESSION,
    UNSEEN,
    RealTable,
)
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tabtune_core import TabularPipeline
from tabtune_core.data.arrays import column_kind
from tabtune_core.data.encoding import FeatureEncoder
from tabtune_core.data.splits import sample_rows
from tabtune_core.metrics import METRICS, Task
from tabtune_core.models.catalogue import CATALOGUE, get_card
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.settings import Strategy
from tabtune_core.training.reference_models import fit_reference

LEAST = 0.001
LORA = {"peft_config": {"r": 8}, "seed": 0}

Array = NDArray[np.float64]
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One split of one table, as it is and encoded; the first ``categories`` features are ordinals of categories.

    Class ids are 0..K-1, missing numbers nan.
    """

    context: pd.DataFrame
    query: pd.DataFrame
    x_CF: Array
    y_C: Array
    x_QF: Array
    y_Q: Array
    categories: int


Predict = Callable[[Sample], Array]
"""Of the query rows: probabilities ``(Q, K)``, or numbers ``(Q,)``."""


@dataclass(frozen=True, slots=True)
class Contest:
    """What is compared in one task: with which classics and by which scores."""

    classics: Mapping[str, Callable[[int], Any]]
    """From the number of categorical features to an estimator."""
    score: Callable[[Array, Array], Scores]
    classes: bool


def sample(table: RealTable, seed: int, rows: tuple[int, int], *, classes: bool) -> Sample:
    """Draws at most so many context and query rows and encodes; with classes both halves are stratified, and every
    class is in the context.
    """
    x, target = table.load()
    kinds = {name: column_kind(x[name]) for name in x.columns}
    y = np.unique(target, return_inverse=True)[1] if classes else target.to_numpy(float)
    groups, rng = (y if classes else np.zeros(len(y), int)), np.random.default_rng(seed)
    halves = train_test_split(np.arange(len(y)), test_size=0.5, random_state=seed, stratify=groups)
    context, query = (
        half[sample_rows(groups[half].astype(str), most, rng)] for half, most in zip(halves, rows, strict=True)
    )
    shown, asked = x.iloc[context], x.iloc[query]
    encoder = FeatureEncoder.fit(shown, kinds, None)
    return Sample(
        shown, asked, encoder.transform(shown), y[context], encoder.transform(asked), y[query], len(encoder.categories)
    )


def catalogue_model(name: str, task: Task, checkpoint: Path | None, views: int, *, lora: bool = False) -> Predict:
    """A model of the catalogue, with its own weights or others, as users call it; after LoRA it is shown its own
    training rows.
    """
    params = (
        {"device": "cpu", "views": views}
        | ({"checkpoint": str(checkpoint)} if checkpoint else {})
        | (LORA if lora else {})
    )

    def predict(drawn: Sample) -> Array:
        pipeline = TabularPipeline(name, "peft" if lora else "inference", params, task=task).fit(
            drawn.context, drawn.y_C
        )
        if not lora and len(pipeline.context_rows_) != len(drawn.y_C):
            raise ValueError(
                f"{name} is shown {len(pipeline.context_rows_)} of {len(drawn.y_C)} rows; the classics are given all."
            )
        return pipeline.predict_proba(drawn.query) if task == "classification" else pipeline.predict(drawn.query)

    return predict


def scaled(estimator: Any) -> Callable[[int], Any]:
    """An estimator behind one-hot categories and scaled numbers."""

    def make(categories: int) -> Any:
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        numbers = make_pipeline(SimpleImputer(), StandardScaler())
        split = make_column_transformer(
            (one_hot, list(range(categories))), (numbers, lambda x_NF: list(range(categories, x_NF.shape[1])))
        )
        return make_pipeline(split, estimator)

    return make


def score_classes(y_Q: Array, p_QK: Array) -> Scores:
    held_QK = np.maximum(p_QK, LEAST)
    auc, loss, accuracy = METRICS["roc_auc"], METRICS["log_loss"], METRICS["accuracy"]
    return {
        "ROC AUC": auc.function(y_Q, p_QK),
        "log-loss": loss.function(y_Q, held_QK),
        "accuracy": accuracy.function(y_Q, p_QK),
    }


def score_numbers(y_Q: Array, predicted_Q: Array) -> Scores:
    error = float(np.sqrt(np.mean((y_Q - predicted_Q) ** 2)))
    return {"R2": float(r2_score(y_Q, predicted_Q)), "RMSE / standard deviation": error / float(y_Q.std())}


CONTESTS: dict[Task, Contest] = {
    "classification": Contest(
        classics={
            "logistic regression": scaled(LogisticRegression(max_iter=2000)),
            "random forest (200 trees)": lambda categories: RandomForestClassifier(200, random_state=0),
            "kNN (10)": scaled(KNeighborsClassifier(10)),
            "decision tree (depth 5)": lambda categories: DecisionTreeClassifier(max_depth=5, random_state=0),
        },
        score=score_classes,
        classes=True,
    ),
    "regression": Contest(
        classics={
            "ridge": scaled(Ridge()),
            "random forest (200 trees)": lambda categories: RandomForestRegressor(200, random_state=0),
            "kNN (10)": scaled(KNeighborsRegressor(10)),
        },
        score=score_numbers,
        classes=False,
    ),
}


class OwnReference:
    """The product's linear model or boosting, as an estimator."""

    def __init__(self, strategy: Strategy, classes: bool, categories: int) -> None:
        self._arguments = {"strategy": strategy, "categories": categories, "seed": 0}
        self._classes = classes

    def fit(self, x_CF: Array, y_C: Array) -> "OwnReference":
        classes = int(y_C.max()) + 1 if self._classes else 0
        self.predict = self.predict_proba = fit_reference(
            x_NF=x_CF, y_N=y_C, classes=classes, **self._arguments
        ).predict
        return self


@dataclass(frozen=True, slots=True)
class Listed:
    """Tables, and how they are drawn."""

    task: Task
    tables: tuple[RealTable, ...]
    rows: tuple[int, int] = (500, 500)
    """Most context and query rows."""
    splits: int = 5
    views: tuple[int, ...] = (1, 4)

    @classmethod
    def larger(cls, task: Task, tables: tuple[RealTable, ...]) -> "Listed":
        """Of thousands of rows."""
        return cls(task, tables, rows=(4096, 2048), splits=1, views=(4,))

    @property
    def classics(self) -> dict[str, Callable[[int], Any]]:
        """Of thousands of rows, a forest and those that the product itself compares with, whose one setting is chosen
        inside the context.
        """
        classics, classes = dict(CONTESTS[self.task].classics), self.task == "classification"
        if self.splits > 1:
            return classics
        linear, boosting = (partial(OwnReference, strategy, classes) for strategy in ("linear", "boosting"))
        forest = "random forest (200 trees)"
        return {next(iter(classics)): linear, forest: classics[forest], "gradient boosting": boosting}


LISTS = {
    "classification": Listed("classification", CLASSIFICATION),
    "regression": Listed("regression", REGRESSION),
    "unseen": Listed("classification", UNSEEN),
    "choices": Listed.larger("classification", CHOICES),
    "choices of measurements": Listed.larger("classification", CHOICES_MEASURED),
    "choices of numbers": Listed.larger("regression", CHOICES_NUMBERS),
    "larger": Listed.larger("classification", LARGER),
    "larger numbers": Listed.larger("regression", LARGER_NUMBERS),
}
FIRST = ("classification", "regression", "unseen")


def estimator_of(contest: Contest, make: Callable[[int], Any], drawn: Sample) -> Array:
    """A classic's predictions, fitted on the context rows."""
    fitted = make(drawn.categories).fit(drawn.x_CF, drawn.y_C)
    return fitted.predict_proba(drawn.x_QF) if contest.classes else fitted.predict(drawn.x_QF)


def opened(listed: Listed, asked: list[str], *, lora: bool) -> dict[str, Predict]:
    """Models by their key in the cache, from NAME or NAME=WEIGHTS; those without weights for the task are left out."""
    models: dict[str, Predict] = {}
    task = listed.task
    for name, _, checkpoint in (text.partition("=") for text in asked):
        if task in get_card(name).weights:
            path, source = find_checkpoint(get_card(name), task, checkpoint or None)
            title = f"{name} ({path.stem})" if checkpoint else name
            for views, tuned in itertools.product(listed.views, (False, True) if lora else (False,)):
                said = f"{title}{', LoRA' if tuned else ''}, {views} view{'s' if views > 1 else ''}"
                models[f"{said} @{source.sha256[:8]}"] = catalogue_model(
                    name, task, path if checkpoint else None, views, lora=tuned
                )
    return models


def compare(
    name: str,
    asked: list[str],
    only: list[str] | None,
    known: dict[str, dict[str, Scores]],
    save: Callable[[], None],
    *,
    lora: bool,
) -> pd.DataFrame:
    """Mean scores over the splits, one row a table and model; the end of a key, the hash, is left out of the model's
    name.
    """
    listed = LISTS[name]
    contest, models = CONTESTS[listed.task], opened(listed, asked, lora=lora)
    classics = listed.classics
    keys, rows = [*classics, *models], []
    for table in listed.tables:
        if only and table.name not in only:
            continue
        scores = known.setdefault(table.name, {})
        new = [key for key in keys if key not in scores]
        samples = (
            [sample(table, seed, listed.rows, classes=contest.classes) for seed in range(listed.splits)] if new else []
        )
        for key in new:
            make, model = classics.get(key), models.get(key)
            predictions = [model(s) if model else estimator_of(contest, make, s) for s in samples]
            splits = pd.DataFrame(
                [contest.score(s.y_Q, predicted) for s, predicted in zip(samples, predictions, strict=True)]
            )
            scores[key] = splits.mean().to_dict()
        if new:
            save()
            print(
                table.name,
                {key: round(next(iter(scores[key].values())), 4) for key in keys},
                file=sys.stderr,
                flush=True,
            )
        rows += [{"table": table.name, "model": key.partition(" @")[0], **scores[key]} for key in keys]
    return pd.DataFrame(rows)


def summary(scores: pd.DataFrame) -> str:
    """Means over the tables, in the order of the models."""
    means = scores.drop(columns="table").groupby("model", sort=False).mean()
    return markdown_table(
        [f"mean of {scores['table'].nunique()} tables", *means.columns],
        [[name, *(f"{v:.4f}" for v in line)] for name, *line in means.itertuples()],
    )


def standing(frames: Mapping[str, pd.DataFrame]) -> str:
    """Of tables of thousands of rows: the mean score of each model, and on how many tables it is better than a linear
    model and boosting.
    """
    columns: dict[str, dict[str, str]] = {}
    for name, frame in frames.items():
        score, sign, linear = (
            ("log-loss", -1, "logistic regression") if LISTS[name].task == "classification" else ("R2", 1, "ridge")
        )
        wide = sign * frame.pivot(index="table", columns="model", values=score)[frame["model"].unique()]
        means = columns.setdefault(f"{score}, mean of {len(wide)} tables", {})
        counts = [columns.setdefault(f"better than {other}", {}) for other in (linear, f"boosting ({score})")]
        for model in wide:
            title = "linear model" if model == linear else model
            means[title] = f"{sign * wide[model].mean():.3f}"
            for count, other in zip(counts, (linear, "gradient boosting"), strict=True):
                count[title] = "" if model == other else str(int((wide[model] > wide[other]).sum()))
    rows = [[title, *(column[title] for column in columns.values())] for title in next(iter(columns.values()))]
    return markdown_table(["", *columns], rows)


def main() -> None:
    in_the_box = [card.name for card in CATALOGUE.values() if card.in_the_box]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="JSON file of scores; made if it does not exist")
    parser.add_argument("--lists", nargs="+", choices=LISTS, default=list(FIRST))
    parser.add_argument(
        "--minis",
        nargs="*",
        default=in_the_box,
        metavar="NAME[=WEIGHTS]",
        help="models of the catalogue; those in the box",
    )
    parser.add_argument("--tables", nargs="+", help="only these")
    parser.add_argument("--lora", action="store_true", help="the models after LoRA of rank 8, too")
    parser.add_argument("--write", action="store_true", help="into the documentation and the CSV")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    cache = json.loads(arguments.cache.read_text()) if arguments.cache.exists() else {}

    def save() -> None:
        arguments.cache.write_text(json.dumps(cache))

    frames = {
        name: compare(name, arguments.minis, arguments.tables, cache.setdefault(name, {}), save, lora=arguments.lora)
        for name in arguments.lists
    }
    frames = {name: frame for name, frame in frames.items() if len(frame)}  # of --tables a list may have none
    texts = {name: summary(frame) for name, frame in frames.items()}
    print("\n\n".join(f"{name.capitalize()}:\n\n{text}" for name, text in texts.items()))
    every = (
        pd.concat([frame.assign(list=name) for name, frame in frames.items()])
        .set_index(["list", "table", "model"])
        .round(4)
    )
    if arguments.write and not set(arguments.lists) & set(FIRST):
        write_block("larger-tables", standing(frames))
        every.to_csv(Path(__file__).with_name("larger_tables.csv"))
    elif arguments.write:
        write_block(
            "minis", "\n\n".join(f"{name.capitalize()}:\n\n{texts[name]}" for name in ("classification", "regression"))
        )
        write_block("minis-unseen", texts["unseen"])
        every.to_csv(Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
