"""Which planted rules does a model recognise in a table without training, compared with classic methods?

``python tests/benchmarks/planted_rules.py`` prints Markdown; with ``--write`` it goes into the documentation. A table
has 1,000 context rows, 500 rows to predict, and 10 columns of random numbers, of which a rule reads one, two or five;
mean of 3 draws. For the log-loss, probabilities are clipped to at least 0.001. Shape letters: N rows, F features.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import markdown_table, options, publish
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from tabtune_core import TabularPipeline

SHOWN, ASKED, FEATURES, DRAWS, LEAST = 1000, 500, 10, 3, 0.001
Array = NDArray[np.float64]


def _category(rng: np.random.Generator, x_NF: Array) -> Array:
    x_NF[:, 0] = rng.integers(0, 20, len(x_NF))
    return rng.normal(size=20)[x_NF[:, 0].astype(int)]


RULES: dict[str, Callable[[np.random.Generator, Array], Array]] = {
    "a sum of five columns, with noise": lambda rng, x_NF: x_NF[:, :5].sum(1) + 0.5 * rng.normal(size=len(x_NF)),
    "one column above 0.3": lambda rng, x_NF: x_NF[:, 0] - 0.3,
    "the same, one label in ten wrong": lambda rng, x_NF: (
        (x_NF[:, 0] - 0.3) * rng.choice([-1, 1], len(x_NF), p=[0.1, 0.9])
    ),
    "inside a circle of two columns": lambda rng, x_NF: 1.4 - (x_NF[:, :2] ** 2).sum(1),
    "20 codes in random order": _category,
    "the sign of a product of two": lambda rng, x_NF: x_NF[:, 0] * x_NF[:, 1],
    "bands of half a unit of one column": lambda rng, x_NF: np.floor(2 * x_NF[:, 0]) % 2 - 0.5,
}
"""Functions from features, which they may change, to a score whose sign is the class."""
MODELS = {
    **{
        name: lambda x, y, x_test, name=name: (
            TabularPipeline(name, "inference", {"device": "cpu"}, "classification").fit(x, y).predict_proba(x_test)
        )
        for name in ("tabicl-mini", "tabdpt-mini")
    },
    **{
        name: lambda x, y, x_test, make=make: make().fit(x, y).predict_proba(x_test)
        for name, make in {
            "logistic regression": LogisticRegression,
            "random forest (200 trees)": lambda: RandomForestClassifier(200, random_state=0),
            "gradient boosting": lambda: HistGradientBoostingClassifier(random_state=0),
        }.items()
    },
}


def loss(model: Callable[..., Array], rule: Callable[[np.random.Generator, Array], Array], seed: int) -> float:
    """Mean log-loss of one draw (nats)."""
    rng = np.random.default_rng(seed)
    x_NF = rng.normal(size=(SHOWN + ASKED, FEATURES))
    y_N = (rule(rng, x_NF) > 0).astype(int)
    frame = pd.DataFrame(x_NF, columns=[f"x{i}" for i in range(FEATURES)])
    p_NK = model(frame[:SHOWN], y_N[:SHOWN], frame[SHOWN:])
    return float(-np.log(np.maximum(p_NK[np.arange(ASKED), y_N[SHOWN:]], LEAST)).mean())


def main() -> None:
    asked = options(__doc__).parse_args()
    rows = [
        [name, *(f"{np.mean([loss(model, rule, s) for s in range(DRAWS)]):.3f}" for model in MODELS.values())]
        for name, rule in RULES.items()
    ]
    publish("planted-rules", markdown_table(["log-loss where the class is", *MODELS], rows), write=asked.write)


if __name__ == "__main__":
    main()
