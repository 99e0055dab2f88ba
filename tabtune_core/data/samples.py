"""Tables that come with scikit-learn, so that a person without a file can start.

Beside the path: each is written as a CSV and read like any other file.
"""

import functools

import pandas as pd

from tabtune_core.errors import TableError

SAMPLES = {"breast_cancer": "diagnosis", "wine": "cultivar", "iris": "species", "diabetes": "progression"}
"""The name of each sample's label. Diabetes has a number to predict, the others have classes."""


def sample_frame(name: str) -> pd.DataFrame:
    """A sample with its label last, classes as words. Raises TableError for a name that is not in SAMPLES."""
    from sklearn import datasets  # a second to import, and most tables come from people

    if name not in SAMPLES:
        raise TableError(f"There is no sample {name!r}. There are: {', '.join(SAMPLES)}.")
    label = SAMPLES[name]
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    frame: pd.DataFrame = bunch.frame.rename(columns={"target": label})
    words = bunch.get("target_names")
    return frame if words is None else frame.assign(**{label: pd.Series(words[bunch.target], dtype=object)})


@functools.cache
def sample_csv(name: str) -> bytes:
    """A sample as a file. Raises TableError for a name that is not in SAMPLES."""
    return sample_frame(name).to_csv(index=False).encode()
