"""Encodes the table for a model by its context rows, predicts the held-out rows and scores them.

Shape letters: C context rows, N rows to predict, F features, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from tabtune_core.data.encoding import Target
from tabtune_core.data.splits import SplitName, sample_rows
from tabtune_core.data.task import Context, Prepared
from tabtune_core.metrics import score_all
from tabtune_core.models.base import Array, BaseModel, Encoded
from tabtune_core.settings import TrainSettings
from tabtune_core.training.episodes import EVALUATION_ROWS, ROWS_AT_ONCE, EpisodeSize


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Preprocessed rows of one part of the split: row numbers in the table, features and targets."""

    rows_N: NDArray[np.int64]
    x_NF: Array
    y_N: Target
    rarer: int | None
    """The ``rarer_class`` of the table."""

    def score(self, predicted: NDArray[np.float64]) -> dict[str, float]:
        """Computes every metric of predictions ``(N, K)`` or ``(N,)``."""
        return score_all(self.y_N, predicted, rarer=self.rarer)


BLOCK_ROWS = 50_000
"""Most rows that are encoded at once, because encoding holds several copies in double precision."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A context prepared for one model, with a scorer; runs, pipelines and jobs all predict through this class."""

    context: Context
    normalise: Callable[[Encoded], Array]
    """The model's own normalisation, fitted on the context."""
    scorer: "Scorer"

    @classmethod
    def to(cls, model: BaseModel, context: Context, *, views: int) -> "Shown":
        """Fits the model's normalisation on the context. Predictions are averaged over ``views`` ensemble members."""
        normalise = model.fit_preprocessing(context.x_CF)
        return cls(context, normalise, Scorer(normalise(context.x_CF), context.y_C, len(context.labels.classes), views))

    def read(self, rows: pd.DataFrame) -> Array:
        """Returns the features ``(N, F)`` as the model reads them."""
        if rows.empty:  # upstream packages refuse empty tables
            return self.scorer.x_CF[:0]
        starts = range(0, len(rows), BLOCK_ROWS)
        encode = self.context.encoder.transform
        blocks = [self.normalise(encode(rows.iloc[start : start + BLOCK_ROWS])) for start in starts]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def read_labelled(self, frame: pd.DataFrame, labels: NDArray[np.object_], rows: NDArray[np.int64]) -> HeldOut:
        """Returns rows of a table by their numbers, with their targets."""
        y_N = self.context.labels.transform(list(labels[rows]))
        return HeldOut(rows, self.read(frame.iloc[rows]), y_N, self.context.rarer)


@dataclass(frozen=True, slots=True)
class Scorer:
    """Predicts held-out rows from one fixed context."""

    x_CF: Array
    y_C: Target
    classes: int
    """0 for regression."""
    views: int = 1
    """Ensemble size: all but the first see columns and class ids in another order; log-probabilities are averaged."""
    rows_at_once: int = ROWS_AT_ONCE
    progress: Callable[[int], None] | None = None
    """Called with the number of rows that one more call of a member predicted."""

    def predict(self, model: BaseModel, x_NF: Array) -> NDArray[np.float64]:
        """Predicts probabilities ``(N, K)`` or numbers ``(N,)``; rows do not see each other."""
        if not len(x_NF):
            return np.empty((0, self.classes) if self.classes else 0)
        if model.module.training:
            model.module.eval()
            try:
                return self.predict(model, x_NF)
            finally:
                model.module.train()
        once = len(x_NF) <= self.rows_at_once
        each = (self._asked(self._opened(model, *member, once=once), x_NF, *member) for member in self._members())
        return self._mean(each)

    def keep(self, model: BaseModel) -> Callable[[Array], NDArray[np.float64]]:
        """Returns a ``predict`` for many calls that reads each member's context once; the module must not change."""
        opened = [(self._opened(model, *member), *member) for member in self._members()]
        return lambda x_NF: self._mean(self._asked(ask, x_NF, columns, ids) for ask, columns, ids in opened)

    def _members(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yields each member's orders of columns and of class ids, the same in every run."""
        yield np.arange(self.x_CF.shape[1]), np.arange(self.classes)
        for member in range(1, self.views):
            rng = np.random.default_rng(member)
            yield rng.permutation(self.x_CF.shape[1]), rng.permutation(self.classes)

    def _mean(self, predicted: Iterator[NDArray[np.float64]]) -> NDArray[np.float64]:
        if self.views == 1:
            return next(predicted)
        least = np.finfo(np.float64).tiny
        each = (np.log(np.maximum(one, least)) if self.classes else one for one in predicted)
        total = np.asarray(sum(each)) / self.views
        return np.asarray(softmax(total, axis=1)) if self.classes else total

    def _opened(
        self, model: BaseModel, columns: NDArray[np.int64], ids: NDArray[np.int64], *, once: bool = False
    ) -> Callable[[Array], NDArray[np.float64]]:
        """Returns a function that predicts with one member; ``once``: it need not cache the context."""
        x_CF, y_C = self.x_CF[:, columns], ids[self.y_C] if self.classes else self.y_C
        if once:
            return lambda x_QF: model.predict(x_CF, y_C, x_QF, self.classes)
        return model.read_context(x_CF, y_C, self.classes)

    def _asked(
        self,
        ask: Callable[[Array], NDArray[np.float64]],
        x_NF: Array,
        columns: NDArray[np.int64],
        ids: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Predicts with one member, and returns the classes in their original order."""
        parts = []
        for first in range(0, len(x_NF), self.rows_at_once):
            parts.append(ask(x_NF[first : first + self.rows_at_once, columns]))
            if self.progress is not None:
                self.progress(len(parts[-1]))
        predicted = np.concatenate(parts)
        return predicted[:, ids] if self.classes else predicted


@dataclass(frozen=True, slots=True)
class ModelRows:
    """The parts of a table that training and scoring need."""

    x_NF: Array
    y_N: Target
    held_out: dict[SplitName, HeldOut]
    """The splits that have rows: validation, then test."""
    scorer: Scorer
    evaluator: Scorer
    """As ``scorer``, but with at most EVALUATION_ROWS context rows: scores the validation rows during training."""
    size: EpisodeSize

    @classmethod
    def of(cls, table: Prepared, model: BaseModel, settings: TrainSettings) -> "ModelRows":
        """Fits the model's normalisation on the context and applies it to every split."""
        shown = Shown.to(model, table.context, views=settings.views)
        train = shown.read_labelled(table.frame, table.labels, table.split.train)
        parts: dict[SplitName, NDArray[np.int64]] = {"validation": table.split.validation, "test": table.split.test}
        known = ((name, rows) for name, rows in parts.items() if len(rows))
        held_out = {name: shown.read_labelled(table.frame, table.labels, rows) for name, rows in known}
        size = EpisodeSize.plan(len(train.y_N), batch_size=settings.batch_size, context_rows=settings.context_rows)
        return cls(train.x_NF, train.y_N, held_out, shown.scorer, _fewer(shown.scorer), size)


def _fewer(scorer: Scorer) -> Scorer:
    """Returns a scorer with at most EVALUATION_ROWS context rows, every class among them, normalised alike."""
    strata = scorer.y_C.astype(str) if scorer.classes else np.zeros(len(scorer.y_C), dtype=str)
    kept = sample_rows(strata, EVALUATION_ROWS, np.random.default_rng(0))
    return scorer if len(kept) == len(scorer.y_C) else replace(scorer, x_CF=scorer.x_CF[kept], y_C=scorer.y_C[kept])
