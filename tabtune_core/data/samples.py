"""Tables that come with scikit-learn, so that a person without a file can start.

Beside the path: each is written as a CSV and read like any other file.
"""

from collections.abc import Callable

import pandas as pd
from sklearn import datasets

from tabtune_core.errors import TableError

SAMPLES: dict[str, tuple[Callable[..., "datasets.Bunch"], str]] = {
    "breast_cancer": (datasets.load_breast_cancer, "diagnosis"),
    "wine": (datasets.load_wine, "cultivar"),
    "iris": (datasets.load_iris, "species"),
    "diabetes": (datasets.load_diabetes, "progression"),
}
"""By name: what loads it, and the name of its label. All but diabetes have classes."""


def sample_frame(name: str) -> pd.DataFrame:
    """A sample with its label last, classes as words. Raises TableError for a name that is not in SAMPLES."""
    if name not in SAMPLES:
        raise TableError(f"There is no sample {name!r}. There are: {', '.join(SAMPLES)}.")
    load, label = SAMPLES[name]
    bunch = load(as_frame=True)
    frame: pd.DataFrame = bunch.frame.rename(columns={"target": label})
    words = bunch.get("target_names")
    return frame if words is None else frame.assign(**{label: pd.Series(words[bunch.target], dtype=object)})
