"""What a context that is computed once saves where many rows are predicted beside it.

``python tests/benchmarks/cached_context.py`` prints Markdown; with ``--write`` it goes into the documentation. ``--rows``, ``--context`` and
``--models`` change what is measured.

The first table: TabICL, predicting through upstream's cache as the product does, against computing the context again for each lot of rows.
Median CPU and wall seconds of runs taken in turn in one process; the largest difference of a probability; and the highest resident memory
over that of the loaded model, each way in a process of its own. The second: TabDPT and Mitra, whose packages keep no context; what a cache
could save at most is the cost of one row's prediction, which is nearly all context, against that of a whole lot. Full-size models have
random weights. One thread. All of it takes about eight minutes.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from full_size import opened as loaded
from named_machine import machine
from published import markdown_table, write_block

from tabtune_core.models.base import BaseModel
from tabtune_core.training.scoring import Scorer

TITLES = {
    "tabicl-mini": "TabICL mini",
    "tabicl-v2": "TabICL v2",
    "tabdpt-mini": "TabDPT mini",
    "tabdpt-1.3": "TabDPT 1.3",
    "mitra-mini": "Mitra mini",
    "mitra-v1": "Mitra v1",
}
SMALLER = {"mitra-mini": (256, 512), "mitra-v1": (128, 128)}
"""Context rows and rows of a lot where the usual ones would take minutes a lot."""
FEATURES, CLASSES, LOT = 10, 3, 2048


def opened(name: str, folder: Path) -> BaseModel:
    """The model in evaluation mode."""
    model = loaded(name, folder)
    model.module.eval()
    return model


def rows(number: int, seed: int) -> np.ndarray:
    """Noise: what rows hold does not change what they cost."""
    return np.random.default_rng(seed).normal(size=(number, FEATURES)).astype(np.float32)


def ways(model: BaseModel, context: int, number: int) -> dict[str, Callable[[], np.ndarray]]:
    """Predicting beside a context that is computed for each lot, and beside one that is kept."""
    x_CF, x_NF, y_C = rows(context, 0), rows(number, 1), np.arange(context) % CLASSES
    lots = [x_NF[i : i + LOT] for i in range(0, number, LOT)]
    return {
        "again": lambda: np.concatenate([model.predict(x_CF, y_C, lot, CLASSES) for lot in lots]),
        "kept": lambda: Scorer(x_CF, y_C, CLASSES, rows_at_once=LOT).predict(model, x_NF),
    }


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU seconds, wall seconds, and what came of it."""
    cpu, wall = time.process_time(), time.perf_counter()
    answer = run()
    return time.process_time() - cpu, time.perf_counter() - wall, answer


def peak_growth(name: str, folder: Path, context: int, number: int, way: str) -> int:
    """Bytes of resident memory above the loaded model, in this process."""

    def resident(what: str) -> int:
        return 1024 * int(re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])

    model = opened(name, folder)
    ways(model, 64, 64)[way]()  # the code pages of a first prediction
    Path("/proc/self/clear_refs").write_text("5")
    loaded = resident("VmRSS")
    ways(model, context, number)[way]()
    return resident("VmHWM") - loaded


def compare(name: str, folder: Path, context: int, number: int, rounds: int) -> list[str]:
    """One row of the first table."""
    model, seconds, answers = opened(name, folder), {"again": [], "kept": []}, {}
    for _ in range(rounds):
        for way, run in ways(model, context, number).items():
            cpu, wall, answers[way] = timed(run)
            seconds[way].append((cpu, wall))
    memory = {}
    for way in seconds:
        command = [sys.executable, __file__, "--cell", json.dumps([name, str(folder), context, number, way])]
        memory[way] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    (cpu, wall), (kept_cpu, kept_wall) = ([statistics.median(column) for column in zip(*seconds[way], strict=True)] for way in seconds)
    difference = float(np.abs(answers["kept"] - answers["again"]).max())
    return [
        TITLES[name],
        f"{number:,} beside {context:,}",
        f"{cpu:.1f} ({wall:.1f})",
        f"{kept_cpu:.1f} ({kept_wall:.1f})",
        f"{kept_cpu / cpu:.2f} ({kept_wall / wall:.2f})",
        f"{difference:.0e}",
        f"{memory['again'] / 1e6:,.0f}",
        f"{memory['kept'] / 1e6:,.0f}",
    ]


def at_most(name: str, folder: Path, context: int, rounds: int) -> list[str]:
    """One row of the second table."""
    context, lot = SMALLER.get(name, (context, LOT))
    model, x_CF, y_C = opened(name, folder), rows(context, 0), np.arange(context) % CLASSES
    found: dict[int, list[float]] = {lot: [], 1: []}
    for _ in range(rounds):
        for number, seconds in found.items():
            x_QF = rows(number, 1)
            seconds.append(timed(lambda x_QF=x_QF: model.predict(x_CF, y_C, x_QF, CLASSES))[0])
    whole, one = (statistics.median(found[number]) for number in (lot, 1))
    return [TITLES[name], f"{lot:,} beside {context:,}", f"{whole:.2f}", f"{one:.2f}", f"{one / whole:.0%}"]


def main() -> None:
    """Measures, prints, and writes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", choices=TITLES, default=list(TITLES))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the tables into the documentation")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, first, second = Path(name), [], []
        for model in asked.models:
            if model.startswith("tabicl"):
                first.append(compare(model, folder, asked.context, asked.rows, asked.rounds))
            else:
                second.append(at_most(model, folder, asked.context, asked.rounds))
            print((first + second)[-1], file=sys.stderr)
    head = [
        "Model",
        "Rows",
        "Context again, CPU s (wall)",
        "Context kept, CPU s (wall)",
        "Ratio",
        "Largest difference",
        "MB again",
        "MB kept",
    ]
    text = markdown_table(head, first) + "\n\n" if first else ""
    if second:
        text += markdown_table(["Model", "Rows", "A lot, CPU s", "One row, CPU s", "A cache could save at most"], second) + "\n\n"
    text += f"{FEATURES} features, {CLASSES} classes, lots of {LOT:,} rows unless said; {machine()}."
    print(text)
    if asked.write:
        write_block("cached-context", text)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--cell"]:
        cell = json.loads(sys.argv[2])
        print(peak_growth(cell[0], Path(cell[1]), *cell[2:]))
    else:
        main()
