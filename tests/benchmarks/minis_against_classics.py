"""Are the models in the box better than classic methods on real tables, without any training?

``python tests/benchmarks/minis_against_classics.py --cache scores.json`` prints Markdown; with ``--write`` it goes into the README, and
the scores table by table into ``minis_against_classics.csv`` here. The tables are those of ``real_tables.py``, which says what to install.

Half of the rows, at most 500, are the context of a model and the training rows of a classic; at most 500 of the other half are the test;
mean of 5 splits, then of the tables. All get the features as the product encodes them (categories as ordinals); logistic regression, ridge
and kNN get one-hot categories and scaled numbers. For the log-loss every probability is held to at least 0.001, whosever it is: a forest
or kNN that says 0 and errs would have a loss without end.

The cache keeps every score by table and model (a model's key has the hash of its weights), so that a second call costs what is new in it.
Delete the file when the code that predicts has changed. Shape letters: V views, C context rows, Q query rows, F features, K classes.
"""

import argparse
import functools
import hashlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from readme_block import markdown_table, write_block
from real_tables import CLASSIFICATION, REGRESSION, RealTable
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

from tabtune_core.data.arrays import column_kind
from tabtune_core.data.encoding import FeatureEncoder
from tabtune_core.data.splits import sample_rows
from tabtune_core.metrics import METRICS
from tabtune_core.models.adapter import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.training.scoring import Scorer

ROWS, SPLITS, VIEWS, LEAST = 500, 5, 4, 0.001

Array = NDArray[np.float64]
Predict = Callable[[Array, Array, Array], Array]
"""``predict(x_context, y_context, x_query)``: probabilities ``(Q, K)``, or numbers ``(Q,)``. Class ids are 0..K-1, missing numbers nan."""
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One split of one table, encoded; the first ``categories`` features are ordinals of categories."""

    x_CF: Array
    y_C: Array
    x_QF: Array
    y_Q: Array
    categories: int


@dataclass(frozen=True, slots=True)
class Task:
    """What is compared, on which tables and by which scores."""

    tables: tuple[RealTable, ...]
    classics: Mapping[str, Callable[[int], Any]]
    """From the number of categorical features to an estimator."""
    minis: Mapping[str, Callable[[Path | None], Predict]]
    """From another weights file, if any, to the model's predictions."""
    score: Callable[[Array, Array], Scores]
    combine: Mapping[str, Callable[[Array], Array]]
    """From the predictions of the views to one prediction."""
    classes: bool


def sample(table: RealTable, seed: int, *, classes: bool) -> Sample:
    """Draws and encodes; with classes both halves are stratified, and every class is in the context."""
    x, target = table.load()
    kinds = {name: column_kind(x[name]) for name in x.columns}
    y = np.unique(target, return_inverse=True)[1] if classes else target.to_numpy(float)
    groups, rng = (y if classes else np.zeros(len(y), int)), np.random.default_rng(seed)
    halves = train_test_split(np.arange(len(y)), test_size=0.5, random_state=seed, stratify=groups)
    context, query = (half[sample_rows(groups[half].astype(str), ROWS, rng)] for half in halves)
    encoder = FeatureEncoder.fit(x.iloc[context], kinds, None)
    return Sample(encoder.transform(x.iloc[context]), y[context], encoder.transform(x.iloc[query]), y[query], len(encoder.categories))


def views(predict: Predict, x_CF: Array, y_C: Array, x_QF: Array, *, classes: bool, number: int = VIEWS) -> Array:
    """Predictions ``(V, Q, K)`` or ``(V, Q)``: view 0 of the table as it is, view v with features permuted and class ids shifted by v."""
    predictions = []
    for v in range(number):
        order = np.random.default_rng(v).permutation(x_CF.shape[1]) if v else np.arange(x_CF.shape[1])
        shown_C = (y_C + v) % (y_C.max() + 1) if classes else y_C
        seen = predict(x_CF[:, order], shown_C, x_QF[:, order])
        predictions.append(np.roll(seen, -v, axis=1) if classes else seen)
    return np.stack(predictions)


def mean_of_logits(p_VQK: Array) -> Array:
    """Softmax of the mean logits; a view's logits are its log-probabilities but for a constant a row, which drops out."""
    logits_QK = np.log(np.maximum(p_VQK, 1e-30)).mean(axis=0)
    p_QK = np.exp(logits_QK - logits_QK.max(axis=1, keepdims=True))
    return p_QK / p_QK.sum(axis=1, keepdims=True)


def catalogue_model(name: str, checkpoint: Path | None) -> Predict:
    """A model of the catalogue, with its own weights or others."""
    model = load_model(CATALOGUE[name], task, torch.device("cpu"), checkpoint)

    def predict(x_CF: Array, y_C: Array, x_QF: Array) -> Array:
        normalise = model.fit_preprocessing(x_CF)
        return Scorer(normalise(x_CF), y_C, int(y_C.max()) + 1).predict(model, normalise(x_QF))

    return predict


def scaled(estimator: Any) -> Callable[[int], Any]:
    """An estimator behind one-hot categories and scaled numbers."""

    def make(categories: int) -> Any:
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        numbers = make_pipeline(SimpleImputer(), StandardScaler())
        split = make_column_transformer((one_hot, list(range(categories))), (numbers, lambda x_NF: list(range(categories, x_NF.shape[1]))))
        return make_pipeline(split, estimator)

    return make


def score_classes(y_Q: Array, p_QK: Array) -> Scores:
    held_QK = np.maximum(p_QK, LEAST)
    auc, loss, accuracy = METRICS["roc_auc"], METRICS["log_loss"], METRICS["accuracy"]
    return {"ROC AUC": auc.function(y_Q, p_QK), "log-loss": loss.function(y_Q, held_QK), "accuracy": accuracy.function(y_Q, p_QK)}


def score_numbers(y_Q: Array, predicted_Q: Array) -> Scores:
    error = float(np.sqrt(np.mean((y_Q - predicted_Q) ** 2)))
    return {"R2": float(r2_score(y_Q, predicted_Q)), "RMSE / standard deviation": error / float(y_Q.std())}


TASKS = {
    "classification": Task(
        tables=CLASSIFICATION,
        classics={
            "logistic regression": scaled(LogisticRegression(max_iter=2000)),
            "random forest (200 trees)": lambda categories: RandomForestClassifier(200, random_state=0),
            "kNN (10)": scaled(KNeighborsClassifier(10)),
            "decision tree (depth 5)": lambda categories: DecisionTreeClassifier(max_depth=5, random_state=0),
        },
        minis={"tabicl-mini": functools.partial(catalogue_model, "tabicl-mini")},
        score=score_classes,
        combine={
            "1 view": lambda p_VQK: p_VQK[0],
            f"{VIEWS} views": lambda p_VQK: p_VQK.mean(axis=0),
            f"{VIEWS} views, mean of logits": mean_of_logits,
        },
        classes=True,
    ),
    "regression": Task(
        tables=REGRESSION,
        classics={
            "ridge": scaled(Ridge()),
            "kNN (10)": scaled(KNeighborsRegressor(10)),
            "random forest (200 trees)": lambda categories: RandomForestRegressor(200, random_state=0),
        },
        minis={},
        score=score_numbers,
        combine={"1 view": lambda number_VQ: number_VQ[0], f"{VIEWS} views": lambda number_VQ: number_VQ.mean(axis=0)},
        classes=False,
    ),
}


def classic_scores(task: Task, make: Callable[[int], Any], drawn: Sample) -> Scores:
    """Fits a classic on the context rows and scores it on the test rows."""
    fitted = make(drawn.categories).fit(drawn.x_CF, drawn.y_C)
    return task.score(drawn.y_Q, fitted.predict_proba(drawn.x_QF) if task.classes else fitted.predict(drawn.x_QF))


def mini_scores(task: Task, predict: Predict, drawn: Sample) -> dict[str, Scores]:
    """The scores of one model, by the way of combining its views."""
    seen = views(predict, drawn.x_CF, drawn.y_C, drawn.x_QF, classes=task.classes)
    return {way: task.score(drawn.y_Q, combine(seen)) for way, combine in task.combine.items()}


def table_scores(task: Task, table: RealTable, minis: Mapping[str, Predict], known: Mapping[str, Any]) -> Iterator[tuple[str, Scores]]:
    """Mean scores over the splits of what is not known yet, by the cache's key."""
    samples = [sample(table, seed, classes=task.classes) for seed in range(SPLITS)]
    for name, make in task.classics.items():
        if name not in known:
            yield name, mean([classic_scores(task, make, drawn) for drawn in samples])
    for name, predict in minis.items():
        if any(f"{name}, {way}" not in known for way in task.combine):
            splits = [mini_scores(task, predict, drawn) for drawn in samples]
            for way in task.combine:
                yield f"{name}, {way}", mean([scores[way] for scores in splits])


def mean(scores: list[Scores]) -> Scores:
    return {metric: float(np.mean([split[metric] for split in scores])) for metric in scores[0]}


def opened(task: Task, asked: list[str]) -> dict[str, Predict]:
    """Models by their key in the cache: a name of ``task.minis``, or NAME=WEIGHTS."""
    models = {}
    for text in asked:
        name, _, checkpoint = text.partition("=")
        if name in task.minis:
            path, _ = find_checkpoint(CATALOGUE[name], checkpoint or None)
            title = f"{name} ({path.stem})" if checkpoint else name
            models[f"{title} @{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"] = task.minis[name](
                Path(checkpoint) if checkpoint else None
            )
    return models


def compare(
    task: Task, asked: list[str], only: list[str] | None, known: dict[str, dict[str, Scores]], save: Callable[[], None]
) -> pd.DataFrame:
    """Scores with one row a table and model; the last part of a key, the hash, is left out of the model's name."""
    minis = opened(task, asked)
    keys = [*task.classics, *(f"{name}, {way}" for name in minis for way in task.combine)]
    rows = []
    for table in task.tables:
        if only and table.name not in only:
            continue
        scores = known.setdefault(table.name, {})
        if not set(keys) <= scores.keys():
            scores.update(table_scores(task, table, minis, scores))
            save()
            print(table.name, {key: next(iter(scores[key].values())) for key in keys}, file=sys.stderr, flush=True)
        rows += [{"table": table.name, "model": re.sub(" @[0-9a-f]{8}", "", key), **scores[key]} for key in keys]
    return pd.DataFrame(rows)


def summary(scores: pd.DataFrame) -> str:
    """Means over the tables, in the order of the models."""
    means = scores.drop(columns="table").groupby("model", sort=False).mean()
    return markdown_table(
        [f"mean of {scores['table'].nunique()} tables", *means.columns],
        [[name, *(f"{v:.4f}" for v in line)] for name, *line in means.itertuples()],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="JSON file of scores; made if it does not exist")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--minis", nargs="*", default=["tabicl-mini"], metavar="NAME[=WEIGHTS]")
    parser.add_argument("--tables", nargs="+", help="only these")
    parser.add_argument("--write", action="store_true", help="into README.md and the CSV")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    cache = json.loads(arguments.cache.read_text()) if arguments.cache.exists() else {}
    frames = {
        name: compare(
            TASKS[name],
            arguments.minis,
            arguments.tables,
            cache.setdefault(name, {}),
            lambda: arguments.cache.write_text(json.dumps(cache)),
        )
        for name in arguments.tasks
    }
    text = "\n\n".join(f"{name.capitalize()}:\n\n{summary(frame)}" for name, frame in frames.items())
    print(text)
    if arguments.write:
        write_block("minis", text)
        every = pd.concat([frame.assign(task=name) for name, frame in frames.items()])
        every.set_index(["task", "table", "model"]).round(4).to_csv(Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
