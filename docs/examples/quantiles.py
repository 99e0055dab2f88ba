"""Writes ``quantiles.csv``, the table of the tutorial: 3,000 rows of 10 numbers and a class of three.

It is scikit-learn's ``make_gaussian_quantiles``: the class of a point is how far it lies from the middle, in three
shells of equal size.
"""

import sys
from pathlib import Path

import pandas as pd
from sklearn.datasets import make_gaussian_quantiles

SHELLS = ["inner", "middle", "outer"]


def quantiles(rows: int = 3000) -> pd.DataFrame:
    """The table, the same at every call: columns ``x1`` to ``x10`` and ``shell``."""
    x, shell = make_gaussian_quantiles(n_samples=rows, n_features=10, n_classes=3, random_state=0)
    frame = pd.DataFrame(x.round(4), columns=[f"x{i}" for i in range(1, 11)])
    return frame.assign(shell=[SHELLS[number] for number in shell])


if __name__ == "__main__":
    quantiles().to_csv(Path(sys.argv[1] if len(sys.argv) > 1 else "quantiles.csv"), index=False)
