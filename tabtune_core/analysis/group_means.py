"""Runs that are drawn together: at each step the mean of those that have got there, with the lowest and the highest of them.

In: a frame for charts in which several runs share a name. Out: the same columns with one row a name and place.
"""

import numpy as np
import pandas as pd

LOW, HIGH = "_low", "_high"
"""Ends of the names of the columns beside a mean."""
BINS = 200
"""Places along seconds, where the samples of runs do not fall together."""


def group_means(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """``frame`` has ``run``, a category that several runs may share, and numbers in any unit; ``by`` is the column that their rows have in
    common: ``step``, ``phase``, or ``seconds``, of which the nearest of BINS equal stretches counts.

    What is neither a number nor a truth of all rows is left out; what is one for some runs alone is the mean over those.
    """
    place = frame[by]
    if by == "seconds":
        width = float(place.max()) / BINS if len(place) and place.max() > 0 else 1.0
        place = (place / width).round()
    numbers = [name for name in frame.select_dtypes("number") if name != by]
    groups = frame.groupby([frame["run"], place.rename("place")], observed=True, sort=True)
    spread = groups[numbers]
    means = spread.mean().join(spread.min().add_suffix(LOW)).join(spread.max().add_suffix(HIGH))
    means[by] = groups[by].mean() if by == "seconds" else means.index.get_level_values("place")
    return means.reset_index().drop(columns="place").replace([np.inf, -np.inf], np.nan)
