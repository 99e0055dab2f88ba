"""Measures the memory of one training with the product's own ``fit``, in this process: a cell of
``training_memory.py``.

In: a cell as JSON. Out: one line of JSON with bytes and seconds. Tables and weights are noise, since memory does not
depend on them.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from named_machine import machine

from tabtune_core.api.tuning_params import read_params
from tabtune_core.data.arrays import Labels, prepare_arrays, read_labels, read_rows
from tabtune_core.devices import resolve_device
from tabtune_core.events import Event, PhaseDone, RunFinished, StepDone
from tabtune_core.settings import RunSettings
from tabtune_core.training import step as training_step
from tabtune_core.training.fit import fit
from tabtune_core.training.memory.meters import MemoryMeter, open_nvml
from tabtune_core.training.plan import Plan
from tabtune_core.training.session import Environment

VALIDATION_SHARE, CLASSES, BATCH = 0.2, 3, 0.2


def settings_of(cell: dict[str, Any]) -> RunSettings:
    """The settings of a cell: 80 % of the training rows are context rows, the others query rows."""
    query = round(BATCH * cell["rows"])
    params: dict[str, Any] = {
        "device": cell["device"],
        "steps": cell["steps"],
        "eval_every": cell["steps"],
        "validation_share": VALIDATION_SHARE,
        "checkpoint": cell["weights"],
        "batch_size": query,
        "context_rows": cell["rows"] - query,
        "gradient_checkpointing": cell["recompute"],
    }
    if cell["targets"] is None:
        return read_params(cell["model"], "base-ft", params, "classification")
    return read_params(
        cell["model"], "peft", {**params, "peft_config": {"r": 8, "target_modules": cell["targets"]}}, "classification"
    )


class Counted:
    """Records with torch's profiler every byte that torch's allocators give out and take back in the last step."""

    def __init__(self, step: int) -> None:
        self.step, self.seen, self.kept_bytes, self.peak_bytes = step, 0, 0, 0
        self.loss, self.take_step = training_step.episode_loss, training_step.take_step
        training_step.episode_loss, training_step.take_step = self._loss, self._take_step  # type: ignore[assignment]

    def _loss(self, *arguments: Any, **named: Any) -> torch.Tensor:
        self.seen += 1
        if self.seen == self.step:
            self.profile = torch.profiler.profile(profile_memory=True)
            self.profile.start()
        loss = self.loss(*arguments, **named)
        if self.seen == self.step:
            with torch.profiler.record_function("the loss is there"):
                pass
        return loss

    def _take_step(self, *arguments: Any, **named: Any) -> Any:
        done = self.take_step(*arguments, **named)
        if self.seen == self.step:
            self.profile.stop()
            events = sorted(self.profile.profiler.kineto_results.events(), key=lambda event: event.start_ns())
            level = 0
            for event in events:
                if event.name() == "[memory]":
                    level += event.nbytes()
                    self.peak_bytes = max(self.peak_bytes, level)
                elif event.name() == "the loss is there":
                    self.kept_bytes = level
        return done


def trained(
    settings: RunSettings, rows: int, features: int, emit: Callable[[Event], None], shared: Path | None
) -> tuple[RunFinished, MemoryMeter]:
    """Trains once on ``rows`` rows of noise plus validation rows; ``shared`` caches the outputs of frozen parts."""
    device, rows = resolve_device(settings.device), round(rows / (1 - VALIDATION_SHARE))
    frame = read_rows(pd.DataFrame(np.random.default_rng(0).normal(size=(rows, features))).add_prefix("x"))
    y_N = read_labels(np.arange(rows) % CLASSES, rows)
    labels = Labels.of(y_N, "classification")
    with tempfile.TemporaryDirectory() as folder, MemoryMeter(device, emit, nvml=open_nvml(device)) as meter:
        result = fit(
            Plan.of(settings, features=features, device=device),
            lambda: prepare_arrays(frame, y_N, labels, settings, max_classes=None),
            Environment(meter=meter, folder=Path(folder), emit=emit, shared=shared),
        ).result
    return result, meter


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Bytes by meter; with ``cell["count"]`` only those of the profiler, which would distort the others."""
    settings = settings_of(cell)
    events, counted = list[tuple[float, Event]](), Counted(cell["steps"]) if cell["count"] else None
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) if cell["cached_prefix"] else None
        result, meter = trained(
            settings, cell["rows"], cell["features"], lambda event: events.append((time.process_time(), event)), shared
        )
    if counted:
        return {"kept": counted.kept_bytes, "step_peak": counted.peak_bytes}
    phases = {event.phase: event for _, event in events if isinstance(event, PhaseDone)}
    steps = [cpu for cpu, event in events if isinstance(event, StepDone)]
    nvml = [phases[phase].peak_bytes.get("nvml_process") for phase in ("load", "train")]
    return {
        "meter": result.memory_meter,
        "growth": result.growth_memory_bytes,
        "base": meter.base_bytes,
        "machine": machine(),
        "nvml_growth": None if None in nvml else nvml[1] - nvml[0],
        "validation_growth": meter.growth_bytes["zero-shot"],
        "step_cpu_seconds": float(np.median(np.diff(steps))),
        "cpu_seconds": resource.getrusage(resource.RUSAGE_SELF).ru_utime,
        "train_seconds": result.train_seconds,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(json.loads(sys.argv[1]))))
