"""Episodes: the small tables of training steps, drawn from the training rows and shaped like a prediction.

In: features and class ids (or numbers) of the training rows. Out: context rows of every class, query rows, labels.
Shape letters: N training rows, T rows (context, then query), C context rows, Q query rows, F features.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabtune_core.data.encoding import Target

MOST_DRAWN = 20_000
"""An episode is drawn from so many rows at most, themselves drawn from a larger table, as permuting it takes long."""
ROWS_AT_ONCE = 2048
"""Most query rows that are predicted at once; a training step has ``EpisodeSize.query``."""
EVALUATION_ROWS = 2048
"""Most context rows of an evaluation during training: 0.6 s, not 3.1 s, with 20,000 rows."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One small table, whose features and class ids are permuted, so that their position carries no meaning."""

    x_TF: NDArray[np.float32]
    y_C: Target
    y_Q: Target
    """A class id is -1 if the context lacks the class because it has fewer rows than there are classes."""
    weight_Q: NDArray[np.float64] | None = None
    """Factor of each query row's loss, whose mean is the loss; 0 if its class id is -1. None: equal weights."""

    def known(self, classes: int) -> int:
        """Counts the query rows whose class the context shows; for numbers (0 classes) all rows."""
        return int((self.y_Q >= 0).sum()) if classes else len(self.y_Q)

    def scored(self, classes: int) -> int:
        """Counts the query rows that enter the loss."""
        return self.known(classes) if self.weight_Q is None else int(np.count_nonzero(self.weight_Q))


@dataclass(frozen=True, slots=True)
class EpisodeSize:
    """How many rows an episode has."""

    context: int
    query: int

    @classmethod
    def plan(cls, train_rows: int, *, batch_size: int, context_rows: int) -> "EpisodeSize":
        """Plans an episode with at most a quarter of the training rows as query, so that it resembles a prediction."""
        query = max(1, min(batch_size, train_rows // 4))
        return cls(max(1, min(context_rows, train_rows - query)), query)

    def steps_an_epoch(self, train_rows: int) -> int:
        """Returns the steps until each training row has been a query row about once."""
        return -(-train_rows // self.query)


def draw_episodes(
    x_NF: NDArray[np.float32],
    y_N: Target,
    classes: int,
    size: EpisodeSize,
    rng: np.random.Generator,
    *,
    most_classes: int | None = None,
    weight_N: NDArray[np.float64] | None = None,
) -> Iterator[Episode]:
    """Yields episodes without end; the same ``rng`` state gives the same episodes.

    ``y_N`` are class ids from 0, or numbers if ``classes`` is 0. An episode has at most ``most_classes`` classes,
    chosen at random, and is smaller than ``size`` if these have too few rows. ``weight_N`` weighs the rows in the loss.
    """
    many, every = most_classes is not None and classes > most_classes, np.arange(len(y_N))
    most = max(MOST_DRAWN, size.context + size.query)
    members = [np.flatnonzero(y_N == label) for label in range(classes)] if many else []
    while True:
        episode_classes, episode_size, pool = np.arange(classes), size, every
        if many:
            episode_classes = rng.permutation(classes)[:most_classes]
            pool = np.sort(np.concatenate([members[label] for label in episode_classes]))
            episode_size = EpisodeSize.plan(len(pool), batch_size=size.query, context_rows=size.context)
        rows = rng.permutation(rng.choice(pool, most, replace=False) if len(pool) > most else pool)
        if classes:
            rows = _show_every_class(rows, y_N, episode_size)
        rows = rows[: episode_size.context + episode_size.query]
        x_TF = x_NF[rows][:, rng.permutation(x_NF.shape[1])]
        weight_Q = None if weight_N is None else weight_N[rows[episode_size.context :]]
        y_C, y_Q = np.split(y_N[rows], [episode_size.context])
        if classes:
            ids = np.zeros(classes, dtype=np.int64)
            ids[episode_classes] = rng.permutation(len(episode_classes))
            known_Q = np.isin(y_Q, y_C)
            y_C, y_Q = ids[y_C], np.where(known_Q, ids[y_Q], -1)
            if weight_Q is not None:  # a loss is the mean over all query rows, but these have none without their class
                weight_Q = weight_Q * known_Q * (len(known_Q) / max(known_Q.sum(), 1))
        yield Episode(np.ascontiguousarray(x_TF), y_C, y_Q, weight_Q)


def in_rounds(draw: Callable[[], Iterator[Episode]], count: int) -> Iterator[Episode]:
    """Repeats the first ``count`` episodes of ``draw`` without end, drawn again each round; 0: no repetition."""
    while True:
        yield from itertools.islice(draw(), count or None)


def _show_every_class(rows: NDArray[np.int64], y_N: Target, size: EpisodeSize) -> NDArray[np.int64]:
    """Swaps rows so that the context, which is first, shows the classes of the query, which follows.

    The last row of a class that the context lacks is swapped with a context row whose class has other rows there: if
    possible one that was not drawn, so that the query keeps its own.
    """
    y = y_N[rows]
    for absent in np.setdiff1d(y[size.context : size.context + size.query], y[: size.context]):
        y_C = y[: size.context]
        spare = np.flatnonzero(np.bincount(y_C)[y_C] > 1)
        if not len(spare):
            break  # more classes than context rows
        trade = [spare[0], np.flatnonzero(y == absent)[-1]]
        rows[trade], y[trade] = rows[trade[::-1]], y[trade[::-1]]
    return rows
