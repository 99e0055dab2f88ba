"""Opens a finished adapter package in a fresh process and compares its predictions with those of the run.

A run of the worker has such a process waiting, with only the packages loaded; elsewhere it is a new interpreter.
"""

import os
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.engine.preforked_process import FreshProcess, die_with

TOLERANCE = 1e-6
"""Largest allowed difference on one CPU: of a probability, or of a number in standard deviations of the labels."""
CARD_TOLERANCE = 1e-5
"""The same on GPUs of one kind: TabICL's package splits a prediction by the free memory, so sums have another order."""
OTHER_DEVICE_TOLERANCE = 1e-3
"""The same between a GPU and the CPU, or two kinds of GPUs."""


def largest_difference(run_dir: Path, *, home: Path, device: str, checkpoint: str | None) -> tuple[float, int]:
    """Returns the largest difference over all test rows (see ``TOLERANCE``), and the number of labels that differ."""
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.engine.adapted_model import load_adapter
    from tabtune_core.store.run_folder import ADAPTER_FILE, PREDICTIONS_FILE

    adapted = load_adapter(run_dir / ADAPTER_FILE, checkpoint=checkpoint, device=device)
    table = load_frame(home, adapted.settings.dataset)
    saved = pd.read_parquet(run_dir / PREDICTIONS_FILE)
    saved = saved[saved["split"] == "test"]
    rows, context = table.iloc[saved["row"].to_numpy()], adapted.context(table)
    if not adapted.classes:
        return compare(adapted.predict(rows, context=context), saved["predicted"].to_numpy(), saved["label"].to_numpy())
    p_NK = adapted.predict_proba(rows, context=context)
    return compare(p_NK, saved[[f"prob_{k}" for k in range(p_NK.shape[1])]].to_numpy(), saved["label"].to_numpy())


def compare(predicted: NDArray[Any], expected: NDArray[Any], labels: NDArray[Any]) -> tuple[float, int]:
    """Returns the largest difference (see ``TOLERANCE``) of probabilities or numbers, and how many labels differ.

    The standard deviation of ``labels`` is the unit of a difference between numbers.
    """
    if predicted.shape != expected.shape:
        return float("inf"), len(expected)
    difference = float(np.abs(predicted - expected).max())
    if predicted.ndim == 1:
        return difference / max(float(np.std(labels)), float(np.finfo(float).tiny)), 0
    return difference, int((predicted.argmax(axis=1) != expected.argmax(axis=1)).sum())


def tolerance_on(device: str) -> float:
    """Returns the tolerance between two predictions on one device."""
    return TOLERANCE if device == "cpu" else CARD_TOLERANCE


def verify_in_fresh_process(
    run_dir: Path, *, home: Path, device: str, checkpoint: str | None, fresh: FreshProcess | None = None
) -> tuple[bool | None, str]:
    """Returns whether a run's package gives the run's predictions (None: unknown), and a sentence that says so.

    Predicts on the run's own device, or on the CPU if the package does not open there, as on a GPU without memory left.
    """
    tolerance, where = tolerance_on(device), "in a fresh process"
    asked: dict[str, Any] = {"run_dir": run_dir, "home": home, "device": device, "checkpoint": checkpoint}
    answer = _answer(asked, fresh)
    on_cpu = answer is None and device != "cpu"
    if on_cpu:
        where = f"{where} on the CPU, because it could not be opened on the GPU,"
        answer, tolerance = _answer({**asked, "device": "cpu"}, fresh), OTHER_DEVICE_TOLERANCE
    if answer is None:
        why = "Most often memory ran out: end other programs, and verify it again. The run's log says more."
        return None, f"The adapter package could not be opened {where} and is not offered. {why}"
    difference, labels = answer
    if difference <= tolerance and (on_cpu or labels == 0):
        gave = f"gave the run's test predictions {where} up to a difference of {difference:.1e}"
        return True, f"The adapter package {gave}."
    gave = f"gave predictions {where} that differ by up to {difference:.1e}; it is not offered"
    return False, f"The adapter package {gave}."


def _answer(asked: dict[str, Any], fresh: FreshProcess | None) -> tuple[float, int] | None:
    answer = fresh.call(largest_difference, **asked) if fresh is not None else None
    # the waiting process may have been killed, which says nothing about the package
    return answer or _in_new_interpreter(asked)


def _in_new_interpreter(asked: dict[str, Any]) -> tuple[float, int] | None:
    """Returns the answer, or None if it fails or is killed."""
    with ProcessPoolExecutor(1, get_context("spawn"), die_with, (os.getpid(),)) as pool:
        answer = pool.submit(largest_difference, **asked)
        error = answer.exception()
    if error is None:
        return answer.result()
    traceback.print_exception(error)  # into the run's log
    return None
