"""Measures one training on a table of noise, a cell of ``first_hour_on_a_card.py``: JSON in, a line of JSON out."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from full_size import CLASSES, Steps, noise, opened, random_weights

from tabtune_core import TabularPipeline
from tabtune_core.devices import resolve_device, synchronize
from tabtune_core.events import StepDone

VALIDATION_SHARE, QUERY_SHARE = 0.2, 0.2
FIRST = 5
"""Untimed steps at the start."""
PROFILED = 3


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Median milliseconds of a step, and the run's memory growth in MB, measured and estimated."""
    rows = round(cell["rows"] / (1 - VALIDATION_SHARE))
    query = round(QUERY_SHARE * cell["rows"])
    params: dict[str, Any] = {
        "device": cell["device"],
        "steps": cell["steps"],
        "eval_every": cell["steps"],
        "validation_share": VALIDATION_SHARE,
        "batch_size": query,
        "context_rows": cell["rows"] - query,
        "amp": cell.get("amp", "off"),
        "gradient_checkpointing": cell.get("recompute", False),
    }
    if "mini" not in cell["model"]:
        params["checkpoint"] = random_weights(cell["model"], Path(cell["folder"]))
    if cell["strategy"] == "peft":
        params["peft_config"] = {
            "r": cell.get("rank", 8),
            "lora_dropout": cell.get("dropout", 0.0),
            "target_modules": cell.get("targets", []),
        }
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(rows, cell["features"]))).add_prefix("x")
    pipeline = TabularPipeline(cell["model"], cell["strategy"], params).fit(x, np.arange(rows) % CLASSES)
    seconds = [event.seconds for event in pipeline.history if isinstance(event, StepDone)]
    expected, growth = pipeline.result.estimated_bytes, pipeline.result.growth_memory_bytes
    return {
        "ms a step": 1e3 * float(np.median(np.diff(seconds)[min(FIRST, len(seconds) - 2) :])),
        "growth (MB)": None if growth is None else growth / 1e6,
        "estimated (MB)": None
        if expected is None
        else sum(expected[name] for name in ("gradients", "optimizer", "activations")) / 1e6,
        "card busy (ms)": busy(cell) if cell.get("profile") else None,
    }


def busy(cell: dict[str, Any]) -> float | None:
    """Milliseconds of a step in which the GPU computes, by torch's profiler; None on the CPU."""
    if cell["device"] == "cpu":
        return None
    device = resolve_device(cell["device"])
    model, episode = opened(cell["model"], Path(cell["folder"]), device), noise(cell["rows"], cell["features"])
    steps = Steps(model, None if cell["strategy"] == "base-ft" else (), dropout=cell.get("dropout", 0.0))
    for _ in range(FIRST):
        steps.step(episode)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(PROFILED):
            steps.step(episode)
        synchronize(device)
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e3 / PROFILED


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
