"""Reads a run's predictions of its held-out rows from its folder."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.data.splits import SplitName
from tabtune_core.events import RunPlanned
from tabtune_core.settings import SplitBy
from tabtune_core.store.run_folder import PREDICTIONS_FILE
from tabtune_core.store.runs import RunStore

ZERO_SHOT = "zero_shot_"
"""Prefix of the columns with the predictions before training."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of one split. Shape letters: N rows, K classes."""

    rows_N: NDArray[np.int64]
    """Row numbers in the table."""
    y_N: NDArray[np.int64] | NDArray[np.float64]
    """Labels as class ids, or numbers."""
    predicted: NDArray[np.float64]
    """Probabilities ``(N, K)``, or numbers ``(N,)``."""
    classes: tuple[str, ...] = ()
    """Class names by id."""
    zero_shot: NDArray[np.float64] | None = None
    """Predictions of the run's own model before training, shaped as ``predicted``; None if not kept."""
    units_N: NDArray[np.int64] | None = None
    """Intervals count rows with equal numbers as one: a group, copies, or one point in time."""
    split_by: SplitBy = "random"
    rarer: int | None = None
    """``RunPlanned.rarer``."""


def read_predictions(store: RunStore, run_id: str, split: SplitName) -> Predictions | None:
    """Reads the predictions; None if the file is missing or cannot be read, or the run has no ``RunPlanned`` event."""
    path, planned = store.run_dir(run_id) / PREDICTIONS_FILE, store.last_event(run_id, RunPlanned)
    if planned is None or not path.exists():
        return None
    ids = {name: k for k, name in enumerate(planned.classes)}
    try:
        frame = pd.read_parquet(path, filters=[("split", "==", split)], page_checksum_verification=True)
        columns = [f"prob_{k}" for k in ids.values()] if ids else "predicted"
        before = [ZERO_SHOT + name for name in columns] if ids else f"{ZERO_SHOT}predicted"
        known = {"split", "row", "unit", "label", "predicted", *np.ravel(columns), *np.ravel(before)}
        if unknown := set(frame) - known:
            raise ValueError(f"{unknown} are not columns of predictions: the names in the file are damaged")
        if planned.rarer is not None and (len(ids) != 2 or planned.rarer not in ids.values()):
            raise ValueError(f"{planned.rarer} is not one of two classes")
        return Predictions(
            frame["row"].to_numpy(dtype=np.int64),
            np.asarray(frame["label"].map(ids), dtype=np.int64) if ids else frame["label"].to_numpy(dtype=np.float64),
            frame[columns].to_numpy(dtype=np.float64),
            planned.classes,
            frame[before].to_numpy(dtype=np.float64) if set(np.ravel(before)) <= set(frame) else None,
            frame["unit"].to_numpy(dtype=np.int64) if "unit" in frame else None,
            store.run(run_id).settings.split_by,
            planned.rarer,
        )
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError):
        return None
