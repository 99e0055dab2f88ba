"""How much of its rank a trained update really uses, computed from its singular values.

In: the layers that the job ``rank_curve`` returned. Out: frames and numbers for the page. Loads no torch.
Letters: s singular values, largest first. The energy of a direction is its share of ``sum s^2``, the squared Frobenius
norm.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import entr

Layers = Sequence[Mapping[str, Any]]
MOST_OF_IT = 0.9
"""Share of the energy that counts as nearly all of it."""


def effective_rank(values: ArrayLike) -> float:
    """``exp(entropy of s / sum s)``, Roy and Vetterli 2007: k equally used directions give k; 0 if all values are 0.

    >>> effective_rank([1, 1, 1, 0]), round(effective_rank([1, 0.1, 0.1]), 2), effective_rank([0, 0])
    (3.0, 1.76, 0.0)
    """
    s = np.asarray(values, dtype=np.float64)
    return round(float(np.exp(entr(s / s.sum()).sum())), 9) if s.any() else 0.0


def rank_for(values: ArrayLike) -> int:
    """Returns how many directions hold at least MOST_OF_IT of the energy; 0 if all values are 0.

    >>> rank_for([4, 1, 0.1]), rank_for([1, 1, 1]), rank_for([0, 0])
    (1, 3, 0)
    """
    energy = np.cumsum(np.asarray(values, dtype=np.float64) ** 2)
    return int(np.searchsorted(energy, MOST_OF_IT * energy[-1] * (1 - 1e-12)) + 1) if energy[-1] > 0 else 0


def layer_frame(layers: Layers) -> pd.DataFrame:
    """One row per layer: layer, target, rank, relative_update (of the norms), rank_90, effective_rank."""
    return pd.DataFrame(
        [
            {
                "layer": layer["path"],
                "target": layer["target"],
                "rank": layer["rank"],
                "relative_update": layer["update_norm"] / layer["weight_norm"] if layer["weight_norm"] else np.nan,
                "rank_90": rank_for(layer["singular_values"]),
                "effective_rank": effective_rank(layer["singular_values"]),
            }
            for layer in layers
        ],
        columns=["layer", "target", "rank", "relative_update", "rank_90", "effective_rank"],
    )


def curve_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """One row per rank of the job ``rank_curve``: rank, and ``<split>_<metric>``."""
    columns = {"rank": result["ranks"]}
    for split in ("validation", "test"):
        for name in result.get(split, [{}])[0]:
            columns[f"{split}_{name}"] = [scores[name] for scores in result[split]]
    return pd.DataFrame(columns)
