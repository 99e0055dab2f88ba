"""Episodes: what one training step sees, drawn from the training rows as a prediction would see them.

In: preprocessed features and class ids (or numbers) of the training rows. Out: context and query rows with their labels.
Shape letters: T rows (context, then query), C context rows, Q query rows, F features.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Target = NDArray[np.int64] | NDArray[np.float64]
"""Class ids from 0, or numbers in the target's own unit."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One small table. Features and class ids are permuted afresh, so that no column or class keeps a place of its own."""

    x_TF: NDArray[np.float32]
    y_C: Target
    y_Q: Target
    """A class id is -1 where the class is absent from the context: nothing in the episode could tell it."""


@dataclass(frozen=True, slots=True)
class EpisodeSize:
    """How many rows an episode has."""

    context: int
    query: int

    @classmethod
    def plan(cls, train_rows: int, *, batch_size: int, context_rows: int) -> "EpisodeSize":
        """Query rows are held to a quarter of the training rows, so that the context stays near what a prediction has."""
        query = max(1, min(batch_size, train_rows // 4))
        return cls(max(1, min(context_rows, train_rows - query)), query)

    def steps_an_epoch(self, train_rows: int) -> int:
        """Steps until about every training row has been a query once."""
        return -(-train_rows // self.query)


def draw_episodes(x_NF: NDArray[np.float32], y_N: Target, classes: int, size: EpisodeSize, rng: np.random.Generator) -> Iterator[Episode]:
    """Yields episodes without end; the same ``rng`` state gives the same episodes. ``classes`` is 0 where numbers are predicted."""
    while True:
        rows = rng.permutation(len(x_NF))[: size.context + size.query]
        x_TF = x_NF[rows][:, rng.permutation(x_NF.shape[1])]
        y_T = rng.permutation(classes)[y_N[rows]] if classes else y_N[rows]
        y_C, y_Q = y_T[: size.context], y_T[size.context :]
        yield Episode(np.ascontiguousarray(x_TF), y_C, np.where(np.isin(y_Q, y_C), y_Q, -1) if classes else y_Q)
