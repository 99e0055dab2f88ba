"""What does training add to the memory of a loaded full-size model: LoRA of rank 8 against full fine-tuning?

``python tests/benchmarks/training_memory.py --runs memory.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation. Cells that are already in the file are not measured again; ``--models tabicl-v2 --rows 256`` measures
only those.

Every cell is a run of a few steps in a fresh process like the worker's, with the product's own code, a table of noise
and random weights. Full fine-tuning and LoRA see the same batch: 80 % of the rows are context, the others are
predicted. AdamW, one thread. There are three columns:

- nothing on: neither side recomputes or shares a frozen prefix;
- recompute: ``gradient_checkpointing`` on both sides, which on a CPU also returns large blocks of memory at once;
- proposed: LoRA with ``gradient_checkpointing`` and, if only late layers are adapted, the frozen prefix run once per
  input (as runs of a workspace do), against full fine-tuning with nothing on.

Late layers are ``icl_predictor`` of TabICL, and the last third of the blocks and the head of the other models. Mitra
always recomputes its blocks and has no such setting, so its first two columns are equal.

Meters: on a CPU the kernel's peak of resident memory (VmHWM, reset when training begins) over the loaded model; on a
GPU torch's ``max_memory_allocated`` over that level, and NVML's reading of the process. A separate process measures
with torch's profiler what its allocators
hold of a step: once the loss is computed, which is what autograd keeps (without the older weights), and at the peak of
the whole step, without gradients and optimizer state of earlier steps.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from full_size import random_weights
from published import Kept, markdown_table, options, publish

from tabtune_core.execution.forkserver import RUN_ENVIRONMENT
from tabtune_core.models.cards import LATE as LATE_LAYERS
from tabtune_core.models.catalogue import CATALOGUE

MODELS = {"tabicl-v2": "TabICL v2", "tabdpt-1.3": "TabDPT 1.3", "mitra-v1": "Mitra v1"}
LATE: dict[str, list[str]] = {
    "tabicl-v2": ["icl_predictor"],
    "tabdpt-1.3": [LATE_LAYERS],
    "mitra-v1": [LATE_LAYERS],
}
STEPS = {"tabicl-v2": 3, "tabdpt-1.3": 3, "mitra-v1": 2}
"""From the second step on, the optimizer's state exists during the backward pass."""
REPEATS = {"tabicl-v2": 3, "tabdpt-1.3": 3, "mitra-v1": 1}
ROWS, FEATURES = (256, 1024), 10
TRAINED = ("full", "all", "late")
PLAIN, RECOMPUTE, PROPOSED = "nothing on", "recompute", "proposed"
COLUMNS = {PLAIN: (PLAIN, PLAIN), RECOMPUTE: (RECOMPUTE, RECOMPUTE), PROPOSED: (PROPOSED, PLAIN)}
"""Levers of LoRA, and of the full fine-tuning that it is compared with."""
KEY = ("model", "rows", "features", "trained", "levers", "device", "count", "repeat")


def cell_of(model: str, rows: int, trained: str, levers: str, device: str) -> dict[str, Any]:
    """The input of ``memory_cell.py``. Levers without effect stay off, so that equal cells are measured once."""
    always_recomputes = not CATALOGUE[model].family.block_lists
    if (levers == RECOMPUTE and always_recomputes) or (levers == PROPOSED and always_recomputes and trained != "late"):
        levers = PLAIN
    if levers == PROPOSED and trained != "late":
        levers = RECOMPUTE
    return {
        "model": model,
        "rows": rows,
        "features": FEATURES,
        "trained": trained,
        "levers": levers,
        "device": device,
        "targets": {"full": None, "all": [], "late": LATE[model]}[trained],
        "recompute": levers != PLAIN and not always_recomputes,
        "cached_prefix": levers == PROPOSED,
        "steps": STEPS[model],
    }


def cells_of(model: str, rows: int, device: str) -> list[dict[str, Any]]:
    """The cells of the three columns, each once; full fine-tuning and LoRA take turns."""
    wanted: dict[tuple[str, str], dict[str, Any]] = {}
    for ours, other in COLUMNS.values():
        for trained, levers in (("full", other), ("all", ours), ("late", ours)):
            cell = cell_of(model, rows, trained, levers, device)
            wanted.setdefault((trained, cell["levers"]), cell)
    turns = [{**cell, "count": False, "repeat": repeat} for repeat in range(REPEATS[model]) for cell in wanted.values()]
    return [*turns, *({**cell, "count": True, "repeat": 0} for cell in wanted.values())]


def in_fresh_process(cell: dict[str, Any]) -> dict[str, Any]:
    """Measures a cell in a process of its own."""
    script = Path(__file__).with_name("memory_cell.py")
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(cell)],
        capture_output=True,
        text=True,
        env=RUN_ENVIRONMENT | os.environ,
    )
    if done.returncode:
        sys.exit(f"{cell} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class Found:
    """The medians of the measurements."""

    def __init__(self, known: list[dict[str, Any]], device: str) -> None:
        self.known, self.device = known, device

    def bytes_of(self, meter: str, model: str, rows: int, trained: str, levers: str) -> float | None:
        """The median of a cell by one of its meters; None if it was not measured."""
        cell = cell_of(model, rows, trained, levers, self.device)
        names = ("model", "rows", "features", "trained", "levers", "device")
        values = [
            run[meter] for run in self.known if all(run[n] == cell[n] for n in names) and run.get(meter) is not None
        ]
        return float(np.median(values)) if values else None

    def table(self, meter: str, models: list[str], rows: list[int]) -> str:
        """One row per model, size and choice of layers; each column has the MB of LoRA, of full fine-tuning, and their
        ratio.
        """
        lines = []
        for model in models:
            for size in rows:
                for trained in ("all", "late"):
                    cells = []
                    for ours, other in COLUMNS.values():
                        mine = self.bytes_of(meter, model, size, trained, ours)
                        full = self.bytes_of(meter, model, size, "full", other)
                        known = mine is not None and full
                        cells.append(f"{mine / 1e6:,.0f} / {full / 1e6:,.0f} = **{mine / full:.2f}**" if known else "")
                    if any(cells):
                        lines.append([MODELS[model], f"{size:,} x {FEATURES}", trained, *cells])
        return markdown_table(["Model", "Rows x columns", "Layers", *COLUMNS], lines)


METERS = {
    "growth": "Peak during training over the loaded model, LoRA / full fine-tuning (MB)",
    "nvml_growth": "The same for the process, by NVML",
    "kept": "Kept by autograd once the loss is computed, LoRA / full fine-tuning (MB)",
    "step_peak": "Peak of torch's allocators over the level before the step, LoRA / full fine-tuning (MB)",
    "step_cpu_seconds": "",
}


def report(known: list[dict[str, Any]], models: list[str], rows: list[int], device: str) -> str:
    """All tables in Markdown."""
    found, parts = Found(known, device), []
    for meter, title in METERS.items():
        if title and any(run.get(meter) is not None for run in known):
            parts += [f"{title}:", found.table(meter, models, rows)]
    times = []
    for model in models:
        for size in rows:
            for trained, levers in (("all", RECOMPUTE), ("late", PROPOSED), ("full", RECOMPUTE)):
                seconds = [found.bytes_of("step_cpu_seconds", model, size, trained, how) for how in (levers, PLAIN)]
                full = found.bytes_of("step_cpu_seconds", model, size, "full", PLAIN)
                if None not in (*seconds, full):
                    name = {
                        "all": "LoRA, all layers, recompute",
                        "late": "LoRA, late layers, proposed",
                        "full": "full, recompute",
                    }[trained]
                    ratios = [f"{seconds[0]:.2f}", f"{seconds[0] / seconds[1]:.2f}", f"{seconds[0] / full:.2f}"]
                    times.append([MODELS[model], f"{size:,} x {FEATURES}", name, *ratios])
    head = [
        "Model",
        "Rows x columns",
        "Setting",
        "CPU seconds per step",
        "ratio to nothing on",
        "ratio to full, nothing on",
    ]
    machines = sorted({run["machine"].partition(", load")[0] for run in known if "machine" in run})
    meters = " and ".join(sorted({run["meter"].replace("_", " ") for run in known if "meter" in run}))
    turns = {
        m: Counter(tuple(run[n] for n in KEY[:-1]) for run in known if run["model"] == m and not run["count"])
        for m in models
    }
    counts = ", ".join(
        f"{MODELS[m]} {' to '.join(map(str, sorted({min(t.values()), max(t.values())})))}"
        for m, t in turns.items()
        if t
    )
    said = f"Meter: {meters}; medians of fresh processes taken in turn ({counts}). {'; '.join(machines)}."
    return "\n\n".join([*parts, "What these settings cost:", markdown_table(head, times), said])


def main() -> None:
    """Measures what is missing, prints, and writes with ``--write``."""
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSON lines; cells in it are not measured again")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", nargs="*", type=int, default=list(ROWS))
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    runs = Kept(arguments.runs, *KEY)
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            weights = str(random_weights(model, Path(folder)))
            for rows in arguments.rows:
                for cell in cells_of(model, rows, arguments.device):
                    runs.get(
                        partial(in_fresh_process, {**cell, "weights": weights}), **{name: cell[name] for name in KEY}
                    )
    known = [run for run in runs.known.values() if run["device"] == arguments.device]
    publish("training-memory", report(known, arguments.models, arguments.rows, arguments.device), write=arguments.write)


if __name__ == "__main__":
    main()
