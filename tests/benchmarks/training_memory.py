"""What does training add to the memory of the loaded model, LoRA of rank 8 against full fine-tuning, of full-size models?

``python tests/benchmarks/training_memory.py --runs memory.jsonl`` prints Markdown; with ``--write`` it goes into the documentation. Cells that are
in the file already are not measured again; ``--models tabicl-v2 --rows 256`` measures those alone.

Every cell is a run of a few steps in a fresh process like the worker's, through the product's own path, on a table of noise and with random weights. Full
fine-tuning and LoRA see the same batch: 80 % of the rows are context, the others are predicted. AdamW, one thread. Three columns, never
mixed:

- nothing on: neither side recomputes, neither shares a frozen prefix;
- recompute on both: ``gradient_checkpointing`` on either side, which on a CPU also gives large blocks of memory back at once;
- proposed: LoRA with ``gradient_checkpointing`` and, where only late layers are adapted, the frozen prefix run once for each input (as runs of
  a workspace do) against full fine-tuning with nothing on.

Late layers are ``icl_predictor`` of TabICL, and the last third of the blocks with the head of the others. Mitra recomputes its blocks always
and has no such setting, so that the first two columns are one there.

Meters: on a CPU the kernel's mark of the highest resident memory (VmHWM, set back when training begins) over the level of the loaded model; on
a GPU torch's ``max_memory_allocated`` over that level, and NVML's reading of the process. Beside it, in a process of its own, what torch's
allocators hold of a step, as its profiler tells: when the loss is there, which is what autograd keeps (weights are older and not among it),
and at the highest of the whole step, without gradients and optimizer state of earlier steps.
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
"""From the second on the optimizer's state is there while the backward pass runs."""
REPEATS = {"tabicl-v2": 3, "tabdpt-1.3": 3, "mitra-v1": 1}
ROWS, FEATURES = (256, 1024), 10
TRAINED = ("full", "all", "late")
PLAIN, RECOMPUTE, PROPOSED = "nothing on", "recompute", "proposed"
COLUMNS = {PLAIN: (PLAIN, PLAIN), RECOMPUTE: (RECOMPUTE, RECOMPUTE), PROPOSED: (PROPOSED, PLAIN)}
"""Levers of LoRA, and of the full fine-tuning that it is held against."""
KEY = ("model", "rows", "features", "trained", "levers", "device", "count", "repeat")


def cell_of(model: str, rows: int, trained: str, levers: str, device: str) -> dict[str, Any]:
    """What ``memory_cell.py`` is to be told. Levers that change nothing there stay off, so that equal cells are one."""
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
    """All that the three columns ask for, each once, in an order that takes turns between full fine-tuning and LoRA."""
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
    done = subprocess.run([sys.executable, str(script), json.dumps(cell)], capture_output=True, text=True, env=RUN_ENVIRONMENT | os.environ)
    if done.returncode:
        sys.exit(f"{cell} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class Found:
    """The medians of what was measured."""

    def __init__(self, known: list[dict[str, Any]], device: str) -> None:
        self.known, self.device = known, device

    def bytes_of(self, meter: str, model: str, rows: int, trained: str, levers: str) -> float | None:
        """Of a cell by one of its meters; None where it was not measured."""
        cell = cell_of(model, rows, trained, levers, self.device)
        names = ("model", "rows", "features", "trained", "levers", "device")
        values = [run[meter] for run in self.known if all(run[n] == cell[n] for n in names) and run.get(meter) is not None]
        return float(np.median(values)) if values else None

    def table(self, meter: str, models: list[str], rows: list[int]) -> str:
        """One row a model, size and choice of layers; MB of LoRA, of full fine-tuning, and their ratio in each column."""
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
    "growth": "Growth of the peak over the loaded model while it trains, LoRA / full fine-tuning (MB)",
    "nvml_growth": "The same by NVML, of the process",
    "kept": "Kept by autograd when the loss is there, LoRA / full fine-tuning (MB)",
    "step_peak": "Highest of what torch's allocators hold beyond the level before the step, LoRA / full fine-tuning (MB)",
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
                    name = {"all": "LoRA, all layers, recompute", "late": "LoRA, late layers, proposed", "full": "full, recompute"}[trained]
                    ratios = [f"{seconds[0]:.2f}", f"{seconds[0] / seconds[1]:.2f}", f"{seconds[0] / full:.2f}"]
                    times.append([MODELS[model], f"{size:,} x {FEATURES}", name, *ratios])
    head = ["Model", "Rows x columns", "Setting", "CPU seconds a step", "to the same without levers", "to plain full fine-tuning"]
    machines = sorted({run["machine"].partition(", load")[0] for run in known if "machine" in run})
    meters = " and ".join(sorted({run["meter"].replace("_", " ") for run in known if "meter" in run}))
    turns = {m: Counter(tuple(run[n] for n in KEY[:-1]) for run in known if run["model"] == m and not run["count"]) for m in models}
    counts = ", ".join(f"{MODELS[m]} {' to '.join(map(str, sorted({min(t.values()), max(t.values())})))}" for m, t in turns.items() if t)
    said = f"Growth by the meter of {meters}; medians of fresh processes taken in turn ({counts}). {'; '.join(machines)}."
    return "\n\n".join([*parts, "What the levers cost:", markdown_table(head, times), said])


def main() -> None:
    """Measures what is missing, prints, and writes if asked to."""
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSON lines; what is in it is not measured again")
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
                    runs.get(partial(in_fresh_process, {**cell, "weights": weights}), **{name: cell[name] for name in KEY})
    known = [run for run in runs.known.values() if run["device"] == arguments.device]
    publish("training-memory", report(known, arguments.models, arguments.rows, arguments.device), write=arguments.write)


if __name__ == "__main__":
    main()
