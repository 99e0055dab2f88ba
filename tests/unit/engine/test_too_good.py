"""A score that is too good names its probable cause: copies of training rows, or columns."""

import numpy as np
import pandas as pd
import pytest

from tabtune_core.data.table import read_table
from tabtune_core.data.task import prepare
from tabtune_core.engine.references import too_good
from tabtune_core.settings import RunSettings
from tabtune_core.training.reference_models import fit_reference

DRAW = np.random.default_rng(0)
HONEST = pd.DataFrame(
    {"size": DRAW.normal(size=400).round(6), "weight": DRAW.normal(size=400).round(6), "self": ["no", "yes"] * 200}
)
SIDE = np.where(np.arange(400) % 4 < 2, 3, -3)


@pytest.mark.parametrize(
    ("frame", "score", "said"),
    [
        (HONEST, 0.9, None),
        (HONEST.assign(paid=HONEST["self"].eq("yes") * SIDE + HONEST["size"] / 9), 1.0, "'paid'"),
        (pd.concat([HONEST[:80]] * 5), 1.0, "are copies of training rows"),
    ],
    ids=["honest", "a leak", "copies"],
)
def test_a_nearly_perfect_score_names_its_probable_cause(frame, score, said):
    table, run = (
        read_table(frame.to_csv(index=False).encode()),
        RunSettings(dataset="d", target="self", strategy="boosting"),
    )
    prepared = prepare(table.frame, table.columns, run, max_classes=None)
    context = prepared.context
    fitted = fit_reference("boosting", context.x_CF, context.y_C, categories=0, classes=2, seed=0)
    told = too_good(prepared, context, run, fitted.predict, {"balanced_accuracy": score})
    assert (told is None) if said is None else said in told
