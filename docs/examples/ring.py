"""Writes ``ring.csv``, the table of the tutorial: 3,000 rows of 20 numbers, after Breiman's ringnorm (Technical Report 460, Berkeley 1996).

Rows of the class "wide" are drawn around the origin with variance 4, those of "narrow" around (a, ..., a) with variance 1; a = 2 / sqrt(20).
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROWS, COLUMNS = 3000, 20


def ring(rows: int = ROWS) -> pd.DataFrame:
    """The table, the same at every call: columns ``x1`` to ``x20`` and ``ring``, which has two classes."""
    rng = np.random.default_rng(0)
    wide = rng.random(rows) < 0.5
    x = rng.normal(size=(rows, COLUMNS))
    x = np.where(wide[:, None], 2 * x, x + 2 / np.sqrt(COLUMNS)).round(3)
    frame = pd.DataFrame(x, columns=[f"x{i + 1}" for i in range(COLUMNS)])
    return frame.assign(ring=np.where(wide, "wide", "narrow"))


if __name__ == "__main__":
    ring().to_csv(Path(sys.argv[1] if len(sys.argv) > 1 else "ring.csv"), index=False)
