"""Exports an adapter in another format, opens the file with the snippet that a person will copy, and compares.

In: a run with a verified adapter, and a format. Out: the file in the job's folder, and the largest difference of its
predictions from the run's.
"""

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tabtune_core.api.pipeline import TabularPipeline, pipeline_of_run
from tabtune_core.data.datasets import source_of
from tabtune_core.engine.adapted_model import predict_rows
from tabtune_core.engine.verify import OTHER_DEVICE_TOLERANCE, compare, tolerance_on, verify_in_fresh_process
from tabtune_core.errors import AdapterError
from tabtune_core.events import Event, Note, RunPlanned
from tabtune_core.execution.jobs.export_formats import Format, file_name, snippet
from tabtune_core.execution.jobs.opened_run import OpenedRun, open_run
from tabtune_core.gpus import card_names, card_uuids
from tabtune_core.models.adaptation import OWN
from tabtune_core.models.cards import Snippet
from tabtune_core.models.catalogue import get_card
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.scratch import scratch_folder
from tabtune_core.settings import RunSettings, TrainSettings
from tabtune_core.store.jobs import write_progress
from tabtune_core.store.run_folder import ADAPTER_FILE, LOG, PREDICTIONS_FILE
from tabtune_core.store.runs import RunStore

MOST_ROWS = 500
"""Most test rows that are compared: the run's first ones."""
TABLE = "table"
STEPS = 3
"""Open, write, try in a fresh process."""


@dataclass(frozen=True, slots=True)
class _Source:
    """What an export is made from, and where it is tried."""

    opened: OpenedRun
    path: Path
    """Of the adapter package."""
    history: Sequence[Event]
    visible: str | None
    """CUDA_VISIBLE_DEVICES of the fresh process, so that it chooses the device of ``base``; None: unchanged."""
    tolerance: float
    """In the units of ``verify.TOLERANCE``."""

    def pipeline(self, settings: RunSettings, adapters: Mapping[str, Mapping[str, torch.Tensor]]) -> TabularPipeline:
        """Makes a pipeline with the run's context rows; its columns are in the table's order."""
        facts, opened = self.opened.package.facts, self.opened
        columns = [name for name in facts.kinds if name in facts.features]
        return pipeline_of_run(opened.base, settings, adapters, opened.context, columns, self.history)


def export(home: Path, folder: Path, *, run: str, format: Format) -> dict[str, Any]:
    """Makes the file, runs its snippet in a fresh process and compares; leaves no file with other predictions."""
    store = RunStore(home, existing=True)
    write_progress(folder, 0, STEPS, "steps")
    source = _open(store, run)
    facts = source.opened.package.facts
    file = folder / file_name(format, facts, run)
    with scratch_folder(folder) as work:
        made = work / "made" / file.name
        made.parent.mkdir()
        write_progress(folder, 1, STEPS, "steps")
        _WRITERS[format](source, made, work)
        code = snippet(format, facts, run, table=TABLE)
        _gather(work, source, home, made)
        write_progress(folder, 2, STEPS, "steps")
        difference, labels, rows = _compared(source, code, work)
        # merging rounds each weight once more, and the snippet of a merged checkpoint uses the CPU
        tolerance = OTHER_DEVICE_TOLERANCE if format == "merged" else source.tolerance
        if difference > tolerance or not np.isfinite(difference):
            other = f"A fresh process opened the file and got other predictions than the run, by up to {difference:.1e}"
            raise AdapterError(f"{other}; it is not offered. The adapter package itself is not affected.")
        made.replace(file)
    about = {"file": file.name, "size_bytes": file.stat().st_size, "through": code.through, "views": code.views}
    return {**about, "difference": difference, "labels": labels, "rows": rows}


def verify(home: Path, folder: Path, *, run: str) -> dict[str, Any]:
    """Verifies the adapter package of an ended run again, because the process that did so was killed.

    Returns ``verified`` (None: this one had no answer either) and ``sentence``.
    """
    store = RunStore(home, existing=True)
    of_run, planned = store.run(run), store.last_event(run, RunPlanned)
    if of_run.result is None or of_run.result.adapter_bytes is None:
        raise AdapterError(f"The run {run} has left no adapter package. Choose a finished run of LoRA.")
    device = (planned.device if planned else of_run.settings.device).partition(" ")[0]
    checkpoint = of_run.settings.checkpoint
    verified, sentence = verify_in_fresh_process(store.run_dir(run), home=home, device=device, checkpoint=checkpoint)
    if verified is not None:
        store.set_verified(run, verified)
    store.append(run, Note(sentence, "info" if verified else "warning"))
    return {"verified": verified, "sentence": sentence}


def _open(store: RunStore, run_id: str) -> _Source:
    run, planned = store.run(run_id), store.last_event(run_id, RunPlanned)
    device, visible, tolerance = _trial(run.settings.device, planned.device if planned else run.settings.device)
    history = [*(stored.event for stored in store.events(run_id)), *([run.result] if run.result else [])]
    return _Source(open_run(store, run_id, device), store.run_dir(run_id) / ADAPTER_FILE, history, visible, tolerance)


def _trial(asked: str, computed_on: str) -> tuple[str, str | None, float]:
    """Chooses device, ``visible`` and ``tolerance`` of a source: the run's own device or kind of GPU, else ``asked``.

    ``computed_on`` is the run's recorded device, for example ``cuda:1 (NVIDIA H100)``; ``asked`` is in its settings.
    """
    if computed_on.startswith("cpu"):
        return "cpu", "", tolerance_on("cpu")
    own, _, name = computed_on.partition(" ")
    same = [f"cuda:{place}" for place, card in enumerate(card_names()) if f"({card})" == name]
    device = own if own in same else next(iter(same), None)
    if device is None:
        return asked, None, OTHER_DEVICE_TOLERANCE
    return device, card_uuids()[int(device.partition(":")[2])], tolerance_on(device)


def _merged(source: _Source, file: Path, work: Path) -> None:
    if file.suffix != ".zip":
        source.opened.adapted.save_merged(file)
        return
    source.opened.adapted.save_merged(work / "folder")
    with zipfile.ZipFile(file, "w") as archive:  # uncompressed: weights do not shrink
        for part in sorted((work / "folder").iterdir()):
            archive.write(part, part.name)


def _pipeline(source: _Source, file: Path, work: Path) -> None:
    source.pipeline(source.opened.run.settings, {OWN: source.opened.package.tensors}).save(file)


def _lora(source: _Source, file: Path, work: Path) -> None:
    """Writes the adapter, and in ``work`` a pipeline of the base alone, into which the snippet loads the adapter."""
    run, package = source.opened.run, source.opened.package
    settings = run.settings
    source.pipeline(settings, {OWN: package.tensors}).save_adapter(file)
    train = TrainSettings(predict_context_rows=settings.train.predict_context_rows, views=settings.train.views)
    plain = replace(settings, strategy="inference", train=train)
    source.pipeline(plain, {}).save(work / file_name("pipeline", package.facts, run.id))


_WRITERS = {"merged": _merged, "pipeline": _pipeline, "lora": _lora}


def _gather(work: Path, source: _Source, home: Path, file: Path) -> None:
    """Links everything that the snippet opens into one folder, under the names that it uses."""
    run, facts = source.opened.run, source.opened.package.facts
    package = file_name("adapter", facts, run.id)
    links = {TABLE: source_of(home, run.settings.dataset), package: source.path, file.name: file}
    if run.settings.checkpoint is not None:
        card = get_card(run.settings.model)
        weights, _ = find_checkpoint(card, run.settings.task, run.settings.checkpoint)
        beside = card.weights_for(run.settings.task).beside
        links |= {facts.base.file: weights} | {name: weights.parent / name for name in beside}
    for name, target in links.items():
        (work / Path(name).name).symlink_to(target.absolute())


def _compared(source: _Source, code: Snippet, work: Path) -> tuple[float, int, int]:
    """Returns the largest difference of the snippet's predictions, the number of differing labels and of rows."""
    opened = source.opened
    saved = pd.read_parquet(source.path.with_name(PREDICTIONS_FILE))
    saved = saved[saved["split"] == "test"].iloc[:MOST_ROWS]
    rows = saved["row"].to_numpy()
    # the setup may have picked the test rows already, or may hold the whole table
    choose = f"rows = rows.iloc[{rows.tolist()!r}] if len(rows) == {len(opened.table)} else rows.iloc[:{len(rows)}]"
    save = "import numpy\nnumpy.save('predicted.npy', predicted)\n"
    done = _run(f"{code.setup}\n{choose}\n{code.use}\n{save}", work, source.visible)
    if done.returncode:
        sys.stderr.write(done.stderr)  # the job's log
        why = f"The log of this job says why: {work.with_name(LOG)}"
        raise AdapterError(f"A fresh process could not open the file, so it is not offered. {why}")
    predicted: NDArray[np.float64] = np.load(work / "predicted.npy")
    if code.views == opened.run.settings.train.views:
        classes = opened.adapted.classes
        expected = saved[[f"prob_{k}" for k in range(len(classes))] if classes else "predicted"].to_numpy()
    else:
        expected = predict_rows(opened.adapted.model, opened.table.iloc[rows], opened.context, views=code.views)
    return *compare(predicted, expected, opened.context.y_C), len(rows)


def _run(code: str, work: Path, visible: str | None) -> subprocess.CompletedProcess[str]:
    cards = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    env = {**os.environ, **cards, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=work,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        env=env,
    )
