"""A small table in memory with missing numbers and words, and labels that depend on two of its columns."""

import numpy as np
import pandas as pd


def small_table(rows: int = 90, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    size, colour = rng.normal(size=rows), rng.choice(["red", "green", None], rows)
    frame = pd.DataFrame(
        {"size": np.where(rng.random(rows) < 0.1, np.nan, size), "colour": colour, "noise": rng.normal(size=rows)}
    )
    return frame, np.where(size + 2 * (colour == "red") > 0.5, "keep", "drop")
