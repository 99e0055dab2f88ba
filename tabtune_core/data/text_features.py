"""Encodes free text as numbers: its position along the directions in which the letter groups of the context vary most.

This is latent semantic analysis (Deerwester et al. 1990) over hashed groups of letters, as in skrub's
``StringEncoder``, with rounded weights and no ambiguous directions: whoever opens an adapter learns the encoder again,
and must get the same numbers on a machine that rounds differently. Shape letters: N rows, H hashes, K directions.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tabtune_core.data.values import word

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DIRECTIONS, HASHES = 30, 4096
GRID = 1024
"""Weights are multiples of 1 / GRID: so coarse that rounding errors hardly ever change them."""
APART = 1e-4
"""Least relative gap between the strengths of two directions; with a smaller one they are ambiguous."""
LONGEST, MOST_TEXTS = 20_000, 2_000
"""Letters read of each text; number of texts, the first ones, that the directions are learnt from."""
PARTS = {"rarity": "rarity_H", "weights": "weights_KH"}
"""Names of the learnt arrays in files, and their fields, in their order."""


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """Encodes one column of free text."""

    rarity_H: NDArray[np.float64]
    """How rare each hash is among the texts (inverse document frequency)."""
    weights_KH: NDArray[np.int16]
    """Weights of the directions, in units of ``1 / GRID``; all 0 for a direction that was not found."""

    @classmethod
    def fit(cls, column: pd.Series) -> Self:
        """Learns from the texts of ``column``, without missing ones."""
        from sklearn.feature_extraction.text import TfidfTransformer

        known = column.dropna().iloc[:MOST_TEXTS]
        rarity_H, weights_KH = np.ones(HASHES), np.zeros((DIRECTIONS, HASHES), np.int16)
        if len(known) and (counts_NH := _counts(known)).nnz:
            rarity_H = TfidfTransformer().fit(counts_NH).idf_.round(4)
            found_KH = _directions(_weighed(counts_NH, rarity_H))
            weights_KH[: len(found_KH)] = np.rint(GRID * found_KH)
        return cls(rarity_H, weights_KH)

    def transform(self, column: pd.Series) -> NDArray[np.float64]:
        """Returns numbers ``(N, K)``, nan where the text is missing."""
        there_N = column.notna().to_numpy()
        features_NK = np.full((len(column), DIRECTIONS), np.nan)
        if there_N.any():
            placed_NK = _weighed(_counts(column[there_N]), self.rarity_H) @ (self.weights_KH.T / GRID)
            features_NK[there_N] = placed_NK.round(6) + 0.0  # no -0.0
        return features_NK


def _counts(texts: Iterable[object]) -> "csr_matrix":
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 4), n_features=HASHES, norm=None, alternate_sign=False
    )
    return hashing.transform([word(text)[:LONGEST].encode(errors="replace") for text in texts])


def _weighed(counts_NH: "csr_matrix", rarity_H: NDArray[np.float64]) -> "csr_matrix":
    """Weights rare hashes more, and scales every text to length 1."""
    from sklearn.preprocessing import normalize

    return normalize(counts_NH.multiply(rarity_H).tocsr())


def _directions(weighed_NH: "csr_matrix") -> NDArray[np.float64]:
    """Returns at most ``DIRECTIONS`` directions, the strongest first, without those that may differ elsewhere."""
    from sklearn.decomposition import TruncatedSVD

    most = min(DIRECTIONS + 1, weighed_NH.shape[0] - 1)
    if most < 1:
        return np.zeros((0, HASHES))
    with threadpool_limits(1), np.errstate(invalid="ignore", divide="ignore"):  # of shares of variance, not used
        svd = TruncatedSVD(most, algorithm="arpack", random_state=0).fit(weighed_NH)
    strengths_K, below_K = svd.singular_values_[:-1], -np.diff(svd.singular_values_)  # the gap below the last: unknown
    above_K = np.append(np.inf, below_K)[:-1]
    clear_K = (strengths_K > APART) & (np.minimum(below_K, above_K) > APART * strengths_K)
    return np.asarray(svd.components_[:-1][clear_K], dtype=np.float64)
