"""A score that is too good to be honest: what the test rows say once a model is nearly perfect on them.

In: the prepared table of a run and its scores. Out: a sentence that names the columns that give most of it, or None.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tabtune_core.data.splits import sample_rows, strata_of
from tabtune_core.data.task import Prepared, make_context
from tabtune_core.data.values import with_column
from tabtune_core.metrics import score_all
from tabtune_core.settings import RunSettings
from tabtune_core.training.reference_models import fit_reference

NEARLY_PERFECT = {"balanced_accuracy": 0.995, "r2": 0.999}
FEWEST_ROWS = 60
"""Test rows; fewer are right by luck."""
MANY_COPIES = 0.5
"""Share of the test rows from which on copies of training rows, as their features go, are why."""
MOST_ROWS = 2_000
"""To fit boosting to, and to predict with each column shuffled: seconds."""
NAMED, WORTH = 3, 0.01
"""Columns that are named, and what a score loses at least without one of them."""


def too_good(table: Prepared, kinds: Mapping[str, str], settings: RunSettings, scores: Mapping[str, float]) -> str | None:
    """What to check where the test rows are predicted nearly without error.

    Columns are ranked by permutation importance (Breiman 2001, section 10) of gradient boosting on the same rows.
    """
    metric = "r2" if settings.task == "regression" else "balanced_accuracy"
    test, rng = table.split.test, np.random.default_rng([settings.seed, 4])
    if len(test) < FEWEST_ROWS or not scores.get(metric, 0.0) >= NEARLY_PERFECT[metric]:
        return None
    seen = [name for name, kind in kinds.items() if kind != "ignored" and name != settings.target]
    hash_T = pd.util.hash_pandas_object(table.frame[seen], index=False).to_numpy()
    copied = int(np.isin(hash_T[test], hash_T[table.split.train]).sum())
    if copied >= MANY_COPIES * len(test):
        return (
            f"The test rows are predicted nearly without error: {copied:,} of {len(test):,} are copies of rows that trained. Leave "
            "copies out (the button on the Data page, --drop-copies on the command line)."
        )
    train = table.split.train[sample_rows(strata_of(table.labels)[table.split.train].astype(str), MOST_ROWS, rng)]
    context = make_context(table.frame, table.labels, train, kinds, settings.target)
    shape = {"categories": len(context.encoder.categories), "classes": len(context.labels.classes)}
    predict = fit_reference("boosting", context.x_CF, context.y_C, seed=settings.seed, **shape).predict
    rows = rng.permutation(test)[:MOST_ROWS]
    frame, y_N = table.frame.iloc[rows], context.labels.transform(list(table.labels[rows]))

    def score(shown: pd.DataFrame) -> float:
        return score_all(y_N, predict(context.encoder.transform(shown)))[metric]

    whole = score(frame)
    lost = {name: whole - score(with_column(frame, name, rng.permutation(frame[name].to_numpy()))) for name in context.encoder.columns}
    most = [name for name in sorted(lost, key=lambda name: -lost[name])[:NAMED] if lost[name] >= WORTH]
    if not most:
        return None
    return (
        f"The test rows are predicted nearly without error, which is rare without a leak. Most of it comes from "
        f"{', '.join(map(repr, most))}, as gradient boosting uses the columns: leave out what is only known after the outcome."
    )
