"""The table as the model reads it: encoded, normalised by the context, split by split.

Shape letters: N training rows, C context rows, F features.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tabtune_core.data.encoding import Target
from tabtune_core.data.splits import SplitName, sample_rows
from tabtune_core.data.task import Prepared
from tabtune_core.models.base import Array, BaseModel
from tabtune_core.settings import TrainSettings
from tabtune_core.training.episodes import EVALUATION_ROWS, EpisodeSize
from tabtune_core.training.scoring import HeldOut, Scorer, Shown


@dataclass(frozen=True, slots=True)
class ModelRows:
    """What training and scoring need of a table."""

    x_NF: Array
    y_N: Target
    held_out: dict[SplitName, HeldOut]
    """Of the splits that have rows: validation, then test."""
    scorer: Scorer
    evaluator: Scorer
    """As ``scorer``, beside fewer rows where there are many: what scores the validation rows while training goes on."""
    size: EpisodeSize

    @classmethod
    def of(cls, table: Prepared, model: BaseModel, settings: TrainSettings) -> "ModelRows":
        """Fits the model's normalisation on the context and applies it to every split."""
        shown = Shown.to(model, table.context, views=settings.views)
        train = shown.read_labelled(table.frame, table.labels, table.split.train)
        parts: dict[SplitName, NDArray[np.int64]] = {"validation": table.split.validation, "test": table.split.test}
        held_out = {name: shown.read_labelled(table.frame, table.labels, rows) for name, rows in parts.items() if len(rows)}
        size = EpisodeSize.plan(len(train.y_N), batch_size=settings.batch_size, context_rows=settings.context_rows)
        return cls(train.x_NF, train.y_N, held_out, shown.scorer, _fewer(shown.scorer), size)


def _fewer(scorer: Scorer) -> Scorer:
    """With at most EVALUATION_ROWS rows of its context, every class among them, and the same normalisation."""
    strata = scorer.y_C.astype(str) if scorer.classes else np.zeros(len(scorer.y_C), dtype=str)
    kept = sample_rows(strata, EVALUATION_ROWS, np.random.default_rng(0))
    return scorer if len(kept) == len(scorer.y_C) else replace(scorer, x_CF=scorer.x_CF[kept], y_C=scorer.y_C[kept])
