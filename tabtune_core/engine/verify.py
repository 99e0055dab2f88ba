"""Opens a finished adapter package in a fresh process and compares its predictions with those of the run.

A run of the worker has such a process waiting, with only the packages loaded. Elsewhere, in tests, and if that process
does not answer, a new interpreter is used, in which sets also have another order: ``python -m
tabtune_core.engine.verify RUN_DIR --home HOME`` prints the largest difference.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.engine.preforked_process import FreshProcess, die_with
from tabtune_core.errors import is_out_of_memory

TOLERANCE = 1e-6
"""Largest allowed difference on one CPU: of a probability, or of a number in standard deviations of the labels."""
CARD_TOLERANCE = 1e-5
"""The same on GPUs of one kind: TabICL's package splits a prediction by the free memory, which changes the order of
sums.
"""
OTHER_DEVICE_TOLERANCE = 1e-3
"""The same between a GPU and the CPU, or two kinds of GPUs."""
LOG_SAYS = "the run's log says why"
FULL_MEMORY = 64
"""Exit status of the fresh process if memory was full."""
WITHOUT_MEMORY = {
    FULL_MEMORY: "there was not enough memory",
    -signal.SIGKILL: "the process was killed, most often because memory ran out",
}


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
    """Returns the largest difference (see ``TOLERANCE``) of probabilities ``(N, K)`` or numbers ``(N,)``, and how many
    labels differ.

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
    """Returns whether a run's package gives the run's predictions (None: unknown), and a sentence that says so; uses
    ``fresh`` if given.

    Predicts on the run's own device. If the package does not open there, for example because another program has taken
    the GPU's memory, predicts on the CPU: labels near a decision boundary may differ.
    """
    tolerance, where = tolerance_on(device), "in a fresh process"
    answer = _answer(run_dir, home, device, checkpoint, fresh)
    on_cpu = not isinstance(answer, tuple) and device != "cpu"
    if on_cpu:
        why = f"it could not be opened on the GPU ({answer or LOG_SAYS})"
        answer, tolerance = _answer(run_dir, home, "cpu", checkpoint, fresh), OTHER_DEVICE_TOLERANCE
        where = f"in a fresh process on the CPU, because {why},"
    if not isinstance(answer, tuple):
        why = f": {answer}. End other programs, and verify it again." if answer else f"; {LOG_SAYS}."
        return None, f"The adapter package could not be opened in a fresh process and is not offered{why}"
    difference, labels = answer
    if difference <= tolerance and (on_cpu or labels == 0):
        return (
            True,
            f"The adapter package gave the run's test predictions {where} up to a difference of {difference:.1e}.",
        )
    return (
        False,
        f"The adapter package gave predictions {where} that differ by up to {difference:.1e}; it is not offered.",
    )


def _answer(
    run_dir: Path, home: Path, device: str, checkpoint: str | None, fresh: FreshProcess | None
) -> tuple[float, int] | str | None:
    answer = None
    if fresh is not None:
        answer = fresh.call(largest_difference, run_dir=run_dir, home=home, device=device, checkpoint=checkpoint)
    # the waiting process may have been killed, which says nothing about the package
    return answer or _in_new_interpreter(run_dir, home, device, checkpoint)


def _in_new_interpreter(
    run_dir: Path, home: Path, device: str, checkpoint: str | None
) -> tuple[float, int] | str | None:
    """Returns the answer, or a text if memory was full, or None if the run's log says why there is none."""
    command = [
        sys.executable,
        "-m",
        "tabtune_core.engine.verify",
        str(run_dir),
        "--home",
        str(home),
        "--device",
        device,
    ]
    command += ["--parent", str(os.getpid())]
    if checkpoint is not None:
        command += ["--checkpoint", checkpoint]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    try:
        answer = json.loads(done.stdout.splitlines()[-1])  # a library may print before it
    except (json.JSONDecodeError, IndexError):
        sys.stderr.write(done.stderr)  # the run's log
        return WITHOUT_MEMORY.get(done.returncode)
    return answer["difference"], answer["labels"]


def main() -> None:
    """The command line of the fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--checkpoint")
    parser.add_argument("--parent", type=int, help="id of the parent process; this process ends when it ends")
    asked = vars(parser.parse_args())
    if (parent := asked.pop("parent")) is not None:
        die_with(parent)
    try:
        difference, labels = largest_difference(**asked)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        traceback.print_exception(error)
        sys.exit(FULL_MEMORY)
    sys.stdout.write(json.dumps({"difference": difference, "labels": labels}))


if __name__ == "__main__":
    main()
