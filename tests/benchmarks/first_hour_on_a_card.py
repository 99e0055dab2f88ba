"""What must be known first on a machine with a GPU: the estimate before launch, step times and memory.

``python tests/benchmarks/first_hour_on_a_card.py --cells cells.jsonl`` prints Markdown; ``--write`` publishes it.
Each cell is a process of ``card_cell.py``, kept in the file; ``--device cpu --tiny`` tries everything on a CPU.
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

from published import Kept, machine, markdown_table, options, publish

BENCHMARKS = Path(__file__).parent
MOST_SECONDS = 300
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


class Cells(Kept):
    """The measured cells of a file on one device."""

    def __init__(self, path: Path, asked: argparse.Namespace) -> None:
        super().__init__(path, "part", "name", "cell")
        self.asked, self.model = asked, "tabicl-mini" if asked.tiny else "tabicl-v2"

    def size(self, rows: int, features: int) -> Cell:
        return {"rows": 64, "features": 4} if self.asked.tiny else {"rows": rows, "features": features}

    def of(self, part: str, name: str, steps: int, **cell: Any) -> Cell:
        """The measurements of a cell, or its error."""
        cell = {"device": self.asked.device, "model": self.model, "steps": 4 if self.asked.tiny else steps, **cell}

        def make() -> Cell:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, str(BENCHMARKS / "card_cell.py"), json.dumps({**cell, "folder": folder})]
                pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
                return answer(subprocess.Popen(command, **pipes))

        return self.get(make, part=part, name=name, cell=cell)


def answer(process: "subprocess.Popen[str]") -> Cell:
    """The line of a cell's process, or its error."""
    try:
        out, log = process.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return {"error": f"ended after {MOST_SECONDS} s"}
    if process.returncode:
        return {"error": (log.strip().splitlines() or [f"exit status {process.returncode}"])[-1]}
    measured: Cell = json.loads(out.splitlines()[-1])
    return measured


def shown(value: Any) -> str:
    """A number for a table, or N/A."""
    return "N/A" if value is None else f"{value:,.4g}"


def ratio(one: float | None, other: float | None) -> str:
    """A ratio for a table, or N/A."""
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
    """All parts as Markdown."""
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
    """Measures what is missing, prints, and writes with ``--write``."""
    parser = options(__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="JSON lines; cells in it are not measured again")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a trial")
    asked = parser.parse_args(given)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # so that torch's first GPU is the driver's
    publish("first-hour", page(Cells(asked.cells, asked)), write=asked.write and not asked.tiny)


if __name__ == "__main__":
    main()
