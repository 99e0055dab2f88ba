"""What does one training step cost? LoRA against our own full fine-tuning, and ``peft`` on the layers that it reaches.

``python tests/benchmarks/step_time.py --runs steps.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation. Cells already in the file are not measured again; all take about half an hour.

Ours and ``peft`` alternate in one process, in several processes, since the place of a process's memory changes its
steps by up to a fifth. Ratios are of CPU seconds within a turn, and medians over all turns after the first two.

- ``upstream`` is full fine-tuning of TabICL as its own package computes it, without ``models/tabicl/lean_forward.py``.
- ``limit``: only one bias at the start trains, so LoRA's own work is free. The cached ``icl_predictor`` has one too.
- ``cached``: the part before the adapted layers was computed for this episode before, as in a later epoch.
- ``peft`` wraps the linear layers that are called, so not TabICL's attention. Ours then has the same targets.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import peft
import torch
from full_size import Steps, noise, opened, random_weights
from published import Kept, machine, markdown_table, options, publish

from tabtune_core.execution.processes import RUN_ENVIRONMENT
from tabtune_core.models.base import BaseModel
from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import get_card
from tabtune_core.models.stages import replaced
from tabtune_core.models.tabicl import model as tabicl
from tabtune_core.settings import LoraSettings

RANK = 8
FULL, UPSTREAM, ALL, DROPOUT = "full", "upstream", "all", "dropout"
OURS, PEFT, LATE = "reached", "peft", "late_layers"
LIMIT, CACHED_LIMIT = "limit", "limit of icl_predictor"
WARM_UP = 2
SIZES = {
    "tabicl-v2": {(256, 10): (4, 6), (256, 50): (3, 4), (1024, 10): (3, 3)},
    "tabdpt-1.3": {(256, 10): (2, 4), (1024, 10): (2, 2)},
    "mitra-v2": {(256, 10): (1, 2)},
}
"""By model and table size: the number of processes, and of timed turns in each."""
REACHED = {
    "tabicl-v2": ("linear1", "linear2", "decoder"),
    "tabdpt-1.3": ("transformer_encoder", "encoder", "head"),
    "mitra-v2": ("layers", "final_layer"),
}
"""Targets whose layers are called, so that ``peft`` adapts the same ones."""
FORWARD_ALONE = "feed-forward layers of `icl_predictor`"
FEED_FORWARD = [f"icl_predictor.tf_icl.blocks.{i}.linear{j}" for i in range(12) for j in (1, 2)]
CACHED = {"tabicl-v2": ("icl_predictor", FORWARD_ALONE, LATE), "tabdpt-1.3": (LATE,), "mitra-v2": (LATE,)}
LIMITS = {LIMIT: "col_embedder.in_linear.bias", CACHED_LIMIT: "icl_predictor.tf_icl.blocks.0.attn.in_proj_bias"}
"""The one parameter of TabICL that trains."""
BARS = {
    ("tabicl-v2", 256, 10, ALL, FULL): 0.78,
    ("tabicl-v2", 256, 10, "icl_predictor", FULL): 0.38,
    ("tabicl-v2", 256, 50, "icl_predictor", FULL): 0.25,
    ("tabicl-v2", 1024, 10, "icl_predictor", FULL): 0.48,
}
BRIEF = {FULL: "full", UPSTREAM: "full as tabicl computes it"}
BAR_OF_PEFT = 1.02


def turns(kinds: list[str], name: str, rows: int, features: int, times: int, folder: Path) -> dict[str, Any]:
    """Seconds of every turn of this process, by kind and meter; a turn does one step of each kind."""
    torch.set_num_threads(1)
    episode, trained = noise(rows, features), {kind: prepared(kind, name, folder) for kind in kinds}
    seconds: dict[str, dict[str, list[float]]] = {kind: {"cpu": [], "wall": []} for kind in kinds}
    for turn, kind in product(range(WARM_UP + times), kinds):
        cpu, wall = time.process_time(), time.perf_counter()
        trained[kind].step(episode)
        taken = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        for meter in taken if turn >= WARM_UP else ():
            seconds[kind][meter].append(taken[meter])
    return seconds


def prepared(kind: str, name: str, folder: Path) -> Steps:
    with replaced([(tabicl, "lean", lambda module: None)] if kind == UPSTREAM else []):
        model = opened(name, folder)
    if kind == PEFT:
        return Steps(with_peft(model, name), None)
    if kind in LIMITS:
        model.module.requires_grad_(False).get_parameter(LIMITS[kind]).requires_grad_()
        return Steps(model, None, cache=folder / "cache of the limit" if kind == CACHED_LIMIT else None)
    if kind in CACHED[name]:
        targets = tuple(FEED_FORWARD) if kind == FORWARD_ALONE else (kind,)
        return Steps(model, targets, cache=folder / f"cache of {name} before {kind}")
    return Steps(
        model, {FULL: None, UPSTREAM: None, OURS: REACHED[name]}.get(kind, ()), dropout=0.05 if kind == DROPOUT else 0.0
    )


def with_peft(model: BaseModel, name: str) -> BaseModel:
    """Puts ``peft``'s adapter on the layers that ours adapts with the same targets."""
    layers = list(get_card(name).adapted_shapes("classification", REACHED[name]))
    peft.inject_adapter_in_model(
        peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules=layers), model.module
    )
    trained = sum(p.numel() for p in model.module.parameters() if p.requires_grad)
    ours = adapter_size(get_card(name), "classification", LoraSettings(rank=RANK, targets=tuple(REACHED[name]))).factors
    assert trained == ours, "peft adapts other layers than ours"
    return model


def measure(name: str, rows: int, features: int, processes: int, times: int, folder: Path) -> dict[str, Any]:
    """Seconds of every turn at one size, by kind and meter; caches are put below ``folder``."""
    kinds = [FULL, *([UPSTREAM, *LIMITS] if name == "tabicl-v2" else []), ALL, DROPOUT, *CACHED[name], OURS, PEFT]
    random_weights(name, folder)  # once, not in each process
    every = []
    for _ in range(processes):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            every.append(pool.apply(turns, (kinds, name, rows, features, times, folder)))
    seconds = {
        kind: {meter: [s for one in every for s in one[kind][meter]] for meter in ("cpu", "wall")} for kind in kinds
    }
    return {"machine": machine(), "seconds": seconds}


def titled(kind: str) -> str:
    words = {
        FULL: "full fine-tuning",
        UPSTREAM: "full fine-tuning as tabicl computes it",
        ALL: "LoRA, the model's own targets",
        DROPOUT: "the same with dropout 0.05",
        OURS: "LoRA, the layers that `peft` reaches",
        PEFT: "`peft` on these layers",
        LIMIT: "forward and backward pass only: a lower bound for LoRA",
        CACHED_LIMIT: "the same for `icl_predictor`, cached",
    }
    return words.get(kind, f"LoRA, {kind if kind == FORWARD_ALONE else f'`{kind}`'}, cached")


def against(cell: dict[str, Any], kind: str) -> str:
    """Ratios of a kind of step to full fine-tuning and to ``peft``, with missed bars in bold."""
    seconds = cell["seconds"]
    bar_of_full = BARS.get((cell["model"], cell["rows"], cell["features"], kind, FULL))
    others = {FULL: bar_of_full} if kind != FULL else {}
    if bar_of_full:
        others |= {UPSTREAM: None}
    if kind == OURS:
        others |= {PEFT: BAR_OF_PEFT}
    parts = []
    for other, bar in others.items():
        pairs = zip(seconds[kind]["cpu"], seconds[other]["cpu"], strict=True)
        ratio = f"{statistics.median(mine / its for mine, its in pairs):.2f}"
        shown = f"**{ratio}**" if bar and float(ratio) > bar else ratio
        parts.append(f"{shown} of {BRIEF.get(other) or titled(other)}" + (f" (bar {bar:.2f})" if bar else ""))
    return "; ".join(parts)


def table(cells: list[dict[str, Any]]) -> str:
    rows = []
    for cell in cells:
        for kind, seconds in cell["seconds"].items():
            size = f"{get_card(cell['model']).title}, {cell['rows']} x {cell['features']}" if kind == FULL else ""
            medians = [f"{statistics.median(seconds[meter]):.3f}" for meter in ("cpu", "wall")]
            rows.append([size, titled(kind), *medians, against(cell, kind)])
    machines = {cell["machine"].partition(", load ")[::2] for cell in cells}
    loads = sorted(float(load) for _, load in machines)
    where = f"Medians; {'; '.join(sorted({name for name, _ in machines}))}, load {loads[0]} to {loads[-1]}."
    head = ["Model, rows x columns", "Step", "CPU s", "Wall s", "Ratio of CPU seconds"]
    return f"{markdown_table(head, rows)}\n\n{where}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSON lines; cells in it are not measured again")
    parser.add_argument("--models", nargs="*", choices=SIZES, default=list(SIZES))
    arguments = parser.parse_args()
    os.environ.update(RUN_ENVIRONMENT)
    torch.set_num_threads(1)
    runs = Kept(arguments.runs, "model", "rows", "features")
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            for (rows, features), times in SIZES[name].items():
                make = partial(measure, name, rows, features, *times, Path(folder))
                cells.append(runs.get(make, model=name, rows=rows, features=features))
    publish("steps", table(cells), write=arguments.write)


if __name__ == "__main__":
    main()
