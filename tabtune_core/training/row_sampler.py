"""The rows of which episodes are made, drawn at a cost that does not grow with the table.

In: labels. Out: row numbers in random order. Shape letter: N rows of the table.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
WHOLE_ROWS = 20_000
"""Up to so many rows are put in order as a whole at each draw, which costs a fraction of a millisecond; of more, a part is drawn."""


class RowPool:
    """Rows by class, so that those of some classes are found without going through the others."""

    def __init__(self, y_N: NDArray[np.int64] | NDArray[np.float64], classes: int) -> None:
        """Args:
        y_N: class ids from 0, or numbers.
        classes: how many there are; 0 for numbers.
        """
        self._y_N, self._classes = y_N, classes
        self._by_class = np.argsort(y_N, kind="stable") if classes else np.arange(len(y_N))
        counts = np.bincount(y_N, minlength=classes) if classes else np.array([len(y_N)])
        self._ends = np.cumsum(counts)
        self._begins = self._ends - counts

    def size(self, classes: NDArray[np.int64] | None) -> int:
        """How many rows have one of these classes; None is all classes."""
        return len(self._by_class) if classes is None else int((self._ends - self._begins)[classes].sum())

    def draw(self, rng: np.random.Generator, classes: NDArray[np.int64] | None, context: int, query: int) -> Rows:
        """Rows in random order, each once: ``context`` and ``query`` of them at least, where there are so many.

        Behind those come all others of the pool, or, of a pool of more than ``WHOLE_ROWS``, one of each class that the query has and the
        context lacks, if the class has one more.
        """
        total = self.size(classes)
        if total <= WHOLE_ROWS:
            return rng.permutation(np.arange(total) if classes is None else np.sort(np.concatenate([*map(self._members, classes)])))
        places = rng.choice(total, min(total, context + query), replace=False)
        if classes is None:
            drawn = self._by_class[places] if self._classes else places
        else:
            ends = np.cumsum((self._ends - self._begins)[classes])
            which = np.searchsorted(ends, places, side="right")
            drawn = self._by_class[places - ends[which] + self._ends[classes][which]]
        return np.concatenate([drawn, [*self._more(rng, drawn, context)]]).astype(np.int64) if self._classes else drawn

    def _more(self, rng: np.random.Generator, drawn: Rows, context: int) -> Iterator[int]:
        """A row that was not drawn of each class that is drawn and not in the context."""
        y = self._y_N[drawn]
        for absent in np.setdiff1d(y[context:], y[:context]):
            members, taken = self._members(absent), drawn[y == absent]
            # one more than were taken: they cannot all be among those
            tried = rng.choice(members, min(len(members), len(taken) + 1), replace=False)
            yield from tried[~np.isin(tried, taken)][:1]

    def _members(self, label: int) -> Rows:
        return self._by_class[self._begins[label] : self._ends[label]]
