"""Fetches a data set of OpenML by its number, ``openml:31``, through scikit-learn's cache."""

import warnings
from http.client import HTTPException
from pathlib import Path

import pandas as pd

from tabtune_core.data.reading.progress import Tell
from tabtune_core.data.sources.web import Fetched
from tabtune_core.errors import TableError


def fetch(asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
    """Fetches the table, and the name of OpenML's default target."""
    number = asked.removeprefix("openml:")
    if not number.isdecimal() or int(number) < 1 or len(number) > 9:
        raise TableError(f"{asked!r} does not name a data set of OpenML. Write its number, for example openml:31.")
    from sklearn.datasets import fetch_openml

    tell("Asking OpenML", 0, 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about several versions of a data set; the number names one
            bunch = fetch_openml(data_id=int(number), as_frame=True, parser="pandas", n_retries=1)
    except (OSError, HTTPException, ValueError, KeyError) as error:
        if isinstance(error, ValueError | KeyError) or getattr(error, "code", None) in (404, 412):
            why = f"OpenML has no table {number} that can be read ({error})"
            raise TableError(f"{why}. Look its number up on openml.org.") from error
        reason = getattr(error, "reason", None) or error
        message = f"OpenML could not be reached ({reason}). Check the network, or download the table."
        raise TableError(message) from error
    frame: pd.DataFrame = bunch.frame
    size = int(frame.memory_usage(deep=True).sum())
    if size > limit_bytes:
        raise TableError(f"The table takes {size:,} bytes and the limit is {limit_bytes:,}.")
    frame.to_parquet(folder / "openml.parquet", index=False)
    target = bunch.target_names[0] if len(bunch.target_names or ()) == 1 else ""
    return Fetched(folder / "openml.parquet", f"{bunch.details['name']} (openml {number})", target)
