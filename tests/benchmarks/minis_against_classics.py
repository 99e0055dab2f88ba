"""Are the models in the box better than classic methods on real tables, without any training?

``python tests/benchmarks/minis_against_classics.py --cache scores.json`` prints Markdown; with ``--write`` it goes into
the documentation, and the scores table by table into the CSV beside this file. Half of the rows, at most 500, are what
``fit`` is given; at most 500 others are the test; means of 5 splits, then of the tables. For the log-loss every
probability is at least 0.001. The cache knows the weights, not the code: delete it when the code that predicts changed.

Shape letters: C context rows, Q query rows, F features, K classes.
"""

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import markdown_table, options, publish
from real_tables import CLASSIFICATION, REGRESSION, UNSEEN, RealTable
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

LEAST, MOST_ROWS, SPLITS, VIEWS = 0.001, 500, 5, (1, 4)

Array = NDArray[np.float64]
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One split of a table, as it is and encoded: first the ordinals of ``categories``; class ids are 0..K-1."""

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


def sample(table: RealTable, seed: int, *, classes: bool) -> Sample:
    """Draws and encodes rows; with classes both halves are stratified, and every class is in the context."""
    x, target = table.load()
    kinds = {name: column_kind(x[name]) for name in x.columns}
    y = np.unique(target, return_inverse=True)[1] if classes else target.to_numpy(float)
    groups, rng = (y if classes else np.zeros(len(y), int)), np.random.default_rng(seed)
    halves = train_test_split(np.arange(len(y)), test_size=0.5, random_state=seed, stratify=groups)
    context, query = (half[sample_rows(groups[half].astype(str), MOST_ROWS, rng)] for half in halves)
    shown, asked = x.iloc[context], x.iloc[query]
    encoder = FeatureEncoder.fit(shown, kinds, None)
    return Sample(
        shown, asked, encoder.transform(shown), y[context], encoder.transform(asked), y[query], len(encoder.categories)
    )


def catalogue_model(name: str, task: Task, checkpoint: Path | None, views: int) -> Predict:
    """A model of the catalogue, with its own weights or others, as users call it."""
    params = {"device": "cpu", "views": views} | ({"checkpoint": str(checkpoint)} if checkpoint else {})

    def predict(drawn: Sample) -> Array:
        pipeline = TabularPipeline(name, "inference", params, task=task).fit(drawn.context, drawn.y_C)
        assert len(pipeline.context_rows_) == len(drawn.y_C), "the classics are given all rows"
        return pipeline.predict_proba(drawn.query) if task == "classification" else pipeline.predict(drawn.query)

    return predict


def scaled(estimator: Any) -> Callable[[int], Any]:
    """An estimator behind one-hot categories and scaled numbers."""

    def make(categories: int) -> Any:
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(range(categories))
        scale = make_pipeline(SimpleImputer(), StandardScaler()), lambda x_NF: list(range(categories, x_NF.shape[1]))
        return make_pipeline(make_column_transformer(one_hot, scale), estimator)

    return make


def score_classes(y_Q: Array, p_QK: Array) -> Scores:
    auc, loss, accuracy = (METRICS[name].function for name in ("roc_auc", "log_loss", "accuracy"))
    return {"ROC AUC": auc(y_Q, p_QK), "log-loss": loss(y_Q, np.maximum(p_QK, LEAST)), "accuracy": accuracy(y_Q, p_QK)}


def score_numbers(y_Q: Array, predicted_Q: Array) -> Scores:
    error = float(np.sqrt(np.mean((y_Q - predicted_Q) ** 2)))
    return {"R2": float(r2_score(y_Q, predicted_Q)), "RMSE / standard deviation": error / float(y_Q.std())}


CLASSIFIERS = {
    "logistic regression": scaled(LogisticRegression(max_iter=2000)),
    "random forest (200 trees)": lambda categories: RandomForestClassifier(200, random_state=0),
    "kNN (10)": scaled(KNeighborsClassifier(10)),
    "decision tree (depth 5)": lambda categories: DecisionTreeClassifier(max_depth=5, random_state=0),
}
REGRESSORS = {
    "ridge": scaled(Ridge()),
    "random forest (200 trees)": lambda categories: RandomForestRegressor(200, random_state=0),
    "kNN (10)": scaled(KNeighborsRegressor(10)),
}
CONTESTS: dict[Task, Contest] = {
    "classification": Contest(CLASSIFIERS, score_classes, classes=True),
    "regression": Contest(REGRESSORS, score_numbers, classes=False),
}
LISTS: dict[str, tuple[Task, tuple[RealTable, ...]]] = {
    "classification": ("classification", CLASSIFICATION),
    "regression": ("regression", REGRESSION),
    "unseen": ("classification", UNSEEN),
}


def estimator_of(contest: Contest, make: Callable[[int], Any], drawn: Sample) -> Array:
    """A classic's predictions, fitted on the context rows."""
    fitted = make(drawn.categories).fit(drawn.x_CF, drawn.y_C)
    return fitted.predict_proba(drawn.x_QF) if contest.classes else fitted.predict(drawn.x_QF)


def opened(task: Task, asked: list[str]) -> dict[str, Predict]:
    """Models by their key in the cache, from NAME or NAME=WEIGHTS; those without weights for the task are left out."""
    models: dict[str, Predict] = {}
    for name, _, checkpoint in (text.partition("=") for text in asked):
        if task in get_card(name).weights:
            path, source = find_checkpoint(get_card(name), task, checkpoint or None)
            title = f"{name} ({path.stem})" if checkpoint else name
            for views in VIEWS:
                key = f"{title}, {views} view{'s' if views > 1 else ''} @{source.sha256[:8]}"
                models[key] = catalogue_model(name, task, path if checkpoint else None, views)
    return models


def compare(name: str, asked: list[str], known: dict[str, dict[str, Scores]], save: Callable[[], None]) -> pd.DataFrame:
    """Mean scores over the splits, one row a table and model; a model's name is its key without the hash."""
    task, tables = LISTS[name]
    contest, models = CONTESTS[task], opened(task, asked)
    keys, rows = [*contest.classics, *models], []
    for table in tables:
        scores = known.setdefault(table.name, {})
        new = [key for key in keys if key not in scores]
        samples = [sample(table, seed, classes=contest.classes) for seed in range(SPLITS)] if new else []
        for key in new:
            make, model = contest.classics.get(key), models.get(key)
            predictions = [model(s) if model else estimator_of(contest, make, s) for s in samples]
            splits = [contest.score(s.y_Q, predicted) for s, predicted in zip(samples, predictions, strict=True)]
            scores[key] = pd.DataFrame(splits).mean().to_dict()
        if new:
            save()
            shown = {key: round(next(iter(scores[key].values())), 4) for key in keys}
            print(table.name, shown, file=sys.stderr, flush=True)
        rows += [{"table": table.name, "model": key.partition(" @")[0], **scores[key]} for key in keys]
    return pd.DataFrame(rows)


def summary(scores: pd.DataFrame) -> str:
    """Means over the tables, in the order of the models."""
    means = scores.drop(columns="table").groupby("model", sort=False).mean()
    rows = [[name, *(f"{v:.4f}" for v in line)] for name, *line in means.itertuples()]
    return markdown_table([f"mean of {scores['table'].nunique()} tables", *means.columns], rows)


def main() -> None:
    in_the_box = [card.name for card in CATALOGUE.values() if card.in_the_box]
    parser = options(__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="JSON file of scores; made if it does not exist")
    parser.add_argument("--minis", nargs="*", default=in_the_box, metavar="NAME[=WEIGHTS]", help="the models")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    cache = json.loads(asked.cache.read_text()) if asked.cache.exists() else {}

    def save() -> None:
        asked.cache.write_text(json.dumps(cache))

    frames = {name: compare(name, asked.minis, cache.setdefault(name, {}), save) for name in LISTS}
    both = [f"{name.capitalize()}:\n\n{summary(frames[name])}" for name in ("classification", "regression")]
    publish("minis", "\n\n".join(both), write=asked.write)
    publish("minis-unseen", summary(frames["unseen"]), write=asked.write)
    if asked.write:
        every = pd.concat([frame.assign(list=name) for name, frame in frames.items()])
        every.set_index(["list", "table", "model"]).round(4).to_csv(Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
