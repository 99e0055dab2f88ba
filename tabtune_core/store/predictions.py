"""What a run predicted for the rows that were held out, read back from its folder."""

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
"""How the columns begin that hold what the model said before it was trained."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Letters: N rows, K classes."""

    rows_N: NDArray[np.int64]
    """Numbers of the rows in the table."""
    y_N: NDArray[np.int64] | NDArray[np.float64]
    """Class ids of the labels, or numbers."""
    predicted: NDArray[np.float64]
    """Probabilities ``(N, K)``, or numbers ``(N,)``."""
    classes: tuple[str, ...] = ()
    """Names of the classes, by id."""
    zero_shot: NDArray[np.float64] | None = None
    """What the run's own model said before it was trained, as ``predicted``; None if the run did not keep it."""
    units_N: NDArray[np.int64] | None = None
    """Rows with equal numbers are one to an interval: a group, copies, or a place in the order of time. None for earlier versions' runs."""
    split_by: SplitBy = "random"


def read_predictions(store: RunStore, run_id: str, split: SplitName) -> Predictions | None:
    """None where the file is missing or cannot be read, or the run was never planned."""
    path, planned = store.run_dir(run_id) / PREDICTIONS_FILE, store.last(run_id, "RunPlanned")
    if planned is None or not isinstance(planned.event, RunPlanned) or not path.exists():
        return None
    ids = {name: k for k, name in enumerate(planned.event.classes)}
    try:
        frame = pd.read_parquet(path, filters=[("split", "==", split)], page_checksum_verification=True)
        columns = [f"prob_{k}" for k in ids.values()] if ids else "predicted"
        before = [ZERO_SHOT + name for name in columns] if ids else f"{ZERO_SHOT}predicted"
        return Predictions(
            frame["row"].to_numpy(dtype=np.int64),
            np.asarray(frame["label"].map(ids), dtype=np.int64) if ids else frame["label"].to_numpy(dtype=np.float64),
            frame[columns].to_numpy(dtype=np.float64),
            planned.event.classes,
            frame[before].to_numpy(dtype=np.float64) if set(np.ravel(before)) <= set(frame) else None,
            frame["unit"].to_numpy(dtype=np.int64) if "unit" in frame else None,
            store.run(run_id).settings.split_by,
        )
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError):
        return None
