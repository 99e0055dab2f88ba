"""What must be known first on a machine with a GPU: the estimate before launch, step times and memory.

``python tests/benchmarks/first_hour_on_a_card.py --cells cells.jsonl`` prints Markdown; ``--write`` publishes it.
Each cell is a process (``--cell``), kept in the file; ``--device cpu --tiny`` tries everything on a CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from full_size import CLASSES, Steps, noise, opened, random_weights
from published import Kept, machine, markdown_table, options, publish

from tabtune_core import TabularPipeline
from tabtune_core.data.splits import SplitSizes
from tabtune_core.devices import resolve_device, synchronize
from tabtune_core.events import RunPlanned, StepDone
from tabtune_core.models.catalogue import get_card
from tabtune_core.training.memory.estimate import Sizes, estimate_memory

PROGRAM = Path(__file__)
MOST_SECONDS = 300
VALIDATION_SHARE, QUERY_SHARE = 0.2, 0.2
FIRST = 5
"""Untimed steps at the start."""
PROFILED = 3
Cell = dict[str, Any]
FULL: Cell = {"strategy": "base-ft"}
LORA: Cell = {"strategy": "peft"}
PRECISIONS: dict[str, Cell] = {
    "full, fp32": {**FULL, "profile": True},
    "LoRA, fp32": {**LORA, "profile": True},
    "LoRA, fp32, dropout 0.05": {**LORA, "dropout": 0.05},
    "full, bf16": {**FULL, "amp": "bf16"},
    "LoRA, bf16": {**LORA, "amp": "bf16"},
}
LAYERS: dict[str, Cell] = {
    "full": FULL,
    "LoRA r = 8": LORA,
    "LoRA r = 32": {**LORA, "rank": 32},
    "LoRA r = 8, late layers": {**LORA, "targets": ["late_layers"]},
    "full, recomputed": {**FULL, "recompute": True},
    "LoRA r = 8, recomputed": {**LORA, "recompute": True},
}


def measure(cell: Cell) -> Cell:
    """Median milliseconds of a step of a training on noise, and its memory growth in MB, measured and estimated."""
    rows = round(cell["rows"] / (1 - VALIDATION_SHARE))
    query = round(QUERY_SHARE * cell["rows"])
    params: Cell = {
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
    settings, growth = pipeline.settings(), pipeline.result.growth_memory_bytes
    planned = next(event for event in pipeline.history if isinstance(event, RunPlanned))
    split = SplitSizes(planned.train_rows, planned.validation_rows, planned.test_rows)
    shown = settings.changed(predict_context_rows=planned.context_rows)
    sizes = Sizes.plan(shown, split, features=planned.features, classes=len(planned.classes))
    expected = estimate_memory(settings, get_card(settings.model), sizes, on_gpu=cell["device"] != "cpu")
    return {
        "ms a step": 1e3 * float(np.median(np.diff(seconds)[min(FIRST, len(seconds) - 2) :])),
        "growth (MB)": None if growth is None else growth / 1e6,
        "estimated (MB)": expected.growth / 1e6,
        "card busy (ms)": busy(cell) if cell.get("profile") and cell["device"] != "cpu" else None,
    }


def busy(cell: Cell) -> float:
    """Milliseconds of a step in which the GPU computes, by torch's profiler."""
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


class Cells(Kept):
    def __init__(self, path: Path, asked: argparse.Namespace) -> None:
        super().__init__(path, "part", "name", "cell")
        self.asked, self.model = asked, "tabicl-mini" if asked.tiny else "tabicl-v2"

    def size(self, rows: int, features: int) -> Cell:
        return {"rows": 64, "features": 4} if self.asked.tiny else {"rows": rows, "features": features}

    def of(self, part: str, name: str, steps: int, **cell: Any) -> Cell:
        cell = {"device": self.asked.device, "model": self.model, "steps": 4 if self.asked.tiny else steps, **cell}
        return self.get(lambda: measured_alone(cell), part=part, name=name, cell=cell)


def measured_alone(cell: Cell) -> Cell:
    """What a process that measures the cell prints last, or its error."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(PROGRAM), "--cell", json.dumps({**cell, "folder": folder})]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return {"error": f"ended after {MOST_SECONDS} s"}
    if process.returncode:
        return {"error": (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1]}
    measured: Cell = json.loads(process.stdout.splitlines()[-1])
    return measured


def shown(value: Any) -> str:
    return "N/A" if value is None else f"{value:,.4g}"


def ratio(one: float | None, other: float | None) -> str:
    return shown(one / other if one is not None and other else None)


def rows_of(
    cells: Cells, part: str, kinds: dict[str, Cell], size: Cell, steps: int, *meters: str
) -> Iterator[list[str]]:
    """Yields a row for each kind: its meters, and the ratio of the first to the first kind's."""
    first = None
    for name, kind in kinds.items():
        measured = cells.of(part, name, steps, **size, **kind)
        first = measured.get(meters[0]) if first is None else first
        values = [shown(measured.get(meter)) for meter in meters]
        size_shown = f"{size['rows']} x {size['features']}"
        yield [name, size_shown, *values, ratio(measured.get(meters[0]), first), measured.get("error", "")]


def estimates(cells: Cells) -> Iterator[list[str]]:
    """Yields a row for each model, size and strategy: the estimate before launch against the measured memory."""
    models = ("tabicl-mini",) if cells.asked.tiny else ("tabicl-mini", "tabdpt-mini", "tabicl-v2")
    for model in models:
        for size in (cells.size(256, 10), cells.size(1024, 20)):
            for name, kind in (("full", FULL), ("LoRA", LORA)):
                measured = cells.of("estimate", name, 6, **size, **{**kind, "model": model, "dropout": 0.05})
                before, after = (measured.get(meter) for meter in ("estimated (MB)", "growth (MB)"))
                size_shown, error = f"{size['rows']} x {size['features']}", measured.get("error", "")
                yield [f"{model}, {name}", size_shown, shown(before), shown(after), ratio(before, after), error]


def page(cells: Cells) -> str:
    large, small = cells.size(2048, 50), cells.size(256, 10)
    kinds = {name: kind for name, kind in PRECISIONS.items() if cells.asked.device != "cpu" or "amp" not in kind}
    times = [
        row for size in (small, large) for row in rows_of(cells, "time", kinds, size, 30, "ms a step", "card busy (ms)")
    ]
    parts = {
        "Estimate before launch": (
            ["model", "rows x columns", "estimated (MB)", "growth (MB)", "ratio", "error"],
            [*estimates(cells)],
        ),
        "Step times": (["step", "rows x columns", "ms", "GPU busy (ms)", "to the first", "error"], times),
        "Memory": (
            ["training", "rows x columns", "growth (MB)", "to full", "error"],
            [*rows_of(cells, "memory", LAYERS, large, 4, "growth (MB)")],
        ),
    }
    tables = [f"## {title}\n\n{markdown_table(*table)}" for title, table in parts.items()]
    return "\n\n".join([*tables, f"{cells.asked.device}; {machine()}."])


def main(given: list[str] | None = None) -> None:
    parser = options(__doc__)
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--cells", type=Path, help="JSON lines; cells in it are not measured again")
    one.add_argument("--cell", type=json.loads, help="JSON of one cell; prints a line of JSON")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a trial")
    asked = parser.parse_args(given)
    if asked.cell:
        print(json.dumps(measure(asked.cell)))
        return
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # so that torch's first GPU is the driver's
    publish("first-hour", page(Cells(asked.cells, asked)), write=asked.write and not asked.tiny)


if __name__ == "__main__":
    main()
