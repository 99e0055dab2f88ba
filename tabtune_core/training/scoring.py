"""The table as the model reads it, encoded and normalised by the context; predictions of the rows that were held out, and their scores.

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
    """Preprocessed rows of one part of the split: their numbers in the table, features and targets."""

    rows_N: NDArray[np.int64]
    x_NF: Array
    y_N: Target


BLOCK_ROWS = 50_000
"""Rows that are encoded at once: the steps between a table and float32 features hold several copies in double precision."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A context as one model reads it, and the way to predict beside it: the one that runs, pipelines and jobs have."""

    context: Context
    normalise: Callable[[Encoded], Array]
    """The model's own, learnt from the context."""
    scorer: "Scorer"

    @classmethod
    def to(cls, model: BaseModel, context: Context, *, views: int) -> "Shown":
        """Fits the model's normalisation on the context. Predictions are averaged over ``views`` ensemble members."""
        normalise = model.fit_preprocessing(context.x_CF)
        return cls(context, normalise, Scorer(normalise(context.x_CF), context.y_C, len(context.labels.classes), views))

    def read(self, rows: pd.DataFrame) -> Array:
        """Features ``(N, F)`` as the model reads them."""
        if rows.empty:  # what upstream packages refuse
            return self.scorer.x_CF[:0]
        starts = range(0, max(1, len(rows)), BLOCK_ROWS)
        blocks = [self.normalise(self.context.encoder.transform(rows.iloc[start : start + BLOCK_ROWS])) for start in starts]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def read_labelled(self, frame: pd.DataFrame, labels: NDArray[np.object_], rows: NDArray[np.int64]) -> HeldOut:
        """Rows of a table by their numbers, with their targets."""
        return HeldOut(rows, self.read(frame.iloc[rows]), self.context.labels.transform(list(labels[rows])))


@dataclass(frozen=True, slots=True)
class Scorer:
    """Predicts held-out rows from one fixed context."""

    x_CF: Array
    y_C: Target
    classes: int
    """0 where numbers are predicted."""
    views: int = 1
    """Predictions are averaged over so many: the table as it is, then with columns and class ids in another order.

    Of probabilities the logarithms are averaged, as ``tabicl`` averages logits by default.
    """
    rows_at_once: int = ROWS_AT_ONCE
    told: Callable[[int], None] | None = None
    """Is told how many more rows of a view were predicted."""

    def predict(self, model: BaseModel, x_NF: Array) -> NDArray[np.float64]:
        """Probabilities ``(N, K)`` or numbers ``(N,)``; rows do not see each other, so that their number at once bounds memory alone."""
        if not len(x_NF):
            return np.empty((0, self.classes) if self.classes else 0)
        if model.module.training:
            model.module.eval()
            try:
                return self.predict(model, x_NF)
            finally:
                model.module.train()
        once = len(x_NF) <= self.rows_at_once
        return self._mean(self._asked(self._opened(model, *member, once=once), x_NF, *member) for member in self._members())

    def keep(self, model: BaseModel) -> Callable[[Array], NDArray[np.float64]]:
        """``predict`` for one lot of rows after the other: each member's context is read once, and kept where the model can.

        The module must be in ``eval`` mode and stay as it is.
        """
        opened = [(self._opened(model, *member), *member) for member in self._members()]
        return lambda x_NF: self._mean(self._asked(ask, x_NF, columns, ids) for ask, columns, ids in opened)

    def _members(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Orders of columns and of class ids: as they are, then the same ones in every run, or scores could not be compared."""
        yield np.arange(self.x_CF.shape[1]), np.arange(self.classes)
        for member in range(1, self.views):
            rng = np.random.default_rng(member)
            yield rng.permutation(self.x_CF.shape[1]), rng.permutation(self.classes)

    def _mean(self, predicted: Iterator[NDArray[np.float64]]) -> NDArray[np.float64]:
        if self.views == 1:
            return next(predicted)
        total = np.asarray(sum(_log(one) if self.classes else one for one in predicted)) / self.views
        return np.asarray(softmax(total, axis=1)) if self.classes else total

    def _opened(
        self, model: BaseModel, columns: NDArray[np.int64], ids: NDArray[np.int64], *, once: bool = False
    ) -> Callable[[Array], NDArray[np.float64]]:
        """One ensemble member beside its context, which is read for many lots of rows, or for one."""
        x_CF, y_C = self.x_CF[:, columns], ids[self.y_C] if self.classes else self.y_C
        if once:
            return lambda x_QF: model.predict(x_CF, y_C, x_QF, self.classes)
        return model.read_context(x_CF, y_C, self.classes)

    def _asked(
        self, ask: Callable[[Array], NDArray[np.float64]], x_NF: Array, columns: NDArray[np.int64], ids: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """What a member predicts, classes in their own order."""
        lots = [x_NF[i : i + self.rows_at_once, columns] for i in range(0, len(x_NF), self.rows_at_once)]
        parts = [self._telling(ask(lot)) for lot in lots]
        predicted = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return predicted[:, ids] if self.classes else predicted

    def _telling(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.told is not None:
            self.told(len(predicted))
        return predicted

    def score(self, model: BaseModel, part: HeldOut) -> dict[str, float]:
        """Every metric on the rows of ``part``."""
        return score_all(part.y_N, self.predict(model, part.x_NF))


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


@dataclass(frozen=True, slots=True)
class ModelRows:
    """What training and scoring need of a table."""

    x_NF: Array
    y_N: Target
    held_out: dict[SplitName, HeldOut]
    """Of the splits that have rows: validation, then test."""
    scorer: Scorer
    evaluator: Scorer
    """As ``scorer``, with fewer context rows where there are many: it scores the validation rows while training goes on."""
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
