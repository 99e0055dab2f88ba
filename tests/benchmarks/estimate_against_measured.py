"""How near is the estimate before launch to the measured growth of memory? Three sizes of table, both strategies, four models.

``python tests/benchmarks/estimate_against_measured.py --runs runs.jsonl`` prints Markdown; with ``--write`` it goes into the documentation. Cells
that are in the file already are not measured again; ``--models tabicl-mini`` measures that one alone.

Each cell is a training of a few steps in a fresh process, looks at validation rows included. Measured is what rankings use: on the CPU the
kernel's mark of the highest resident memory over that of the loaded model (VmHWM), on a GPU torch's allocated bytes. The full-size
TabICL v2 has random weights, since memory does not ask what they are. Tables are noise: 256 x 10 is 256 rows that train and 10 columns.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from published import markdown_table, write_block

from tabtune_core import TabularPipeline
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import STRATEGY_NAMES
from tabtune_core.training.memory.estimate import MemoryByCause, Sizes, estimate_memory

TITLES = {"tabicl-mini": "TabICL mini", "tabicl-v2": "TabICL v2 (random weights)", "tabdpt-mini": "TabDPT mini", "mitra-mini": "Mitra mini"}
STRATEGIES = ("base-ft", "peft")
SIZES = ((256, 10), (512, 30), (1024, 20))
STEPS = {"tabicl-v2": 4}
"""Of a cell; ten unless named. On a CPU the gaps of the heap have come by then."""
NEAR = 0.2
VALIDATION_SHARE, CLASSES = 0.2, 3


def random_weights(path: Path) -> Path:
    """A full-size TabICL v2 whose weights say nothing."""
    import torch
    from tabicl._model.tabicl import TabICL

    config = CATALOGUE["tabicl-v2"].weights["classification"].config
    torch.manual_seed(0)
    torch.save({"config": config, "state_dict": TabICL(**config).state_dict()}, path)
    return path


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Trains one cell in this process; bytes by cause."""
    rng = np.random.default_rng(0)
    rows = round(cell["rows"] / (1 - VALIDATION_SHARE))
    x = pd.DataFrame(rng.normal(size=(rows, cell["features"]))).add_prefix("x")
    steps = STEPS.get(cell["model"], 10)
    params = {"device": cell["device"], "steps": steps, "eval_every": steps // 2, "validation_share": VALIDATION_SHARE}
    if cell["model"] == "tabicl-v2":
        params["checkpoint"] = cell["weights"]
    result = TabularPipeline(cell["model"], cell["strategy"], params).fit(x, np.arange(rows) % CLASSES).result
    return {"measured": result.extra["memory_by_cause_bytes"], "meter": result.memory_meter}


def estimated(cell: dict[str, Any]) -> MemoryByCause:
    """What the page would have said before."""
    settings = TabularPipeline(cell["model"], cell["strategy"], {"device": cell["device"]}).settings()
    held_out = round(cell["rows"] / (1 - VALIDATION_SHARE)) - cell["rows"]
    sizes = Sizes.of(settings, train_rows=cell["rows"], predicted_rows=held_out, features=cell["features"], classes=CLASSES)
    return estimate_memory(settings, CATALOGUE[cell["model"]], sizes, on_gpu=cell["device"] != "cpu")


def in_fresh_process(cell: dict[str, Any]) -> dict[str, Any]:
    """The same in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--cell", json.dumps(cell)], check=True, capture_output=True, text=True)
    return {**cell, **json.loads(done.stdout.splitlines()[-1])}


def growth(by_cause: dict[str, int]) -> int:
    """Over the loaded model."""
    return by_cause["gradients"] + by_cause["optimizer"] + by_cause["activations"]


def table(cells: list[dict[str, Any]]) -> str:
    """One row a model, strategy and size, in Markdown, with what lies further off than the bar."""
    rows, off = [], 0
    for cell in sorted(cells, key=lambda c: (list(TITLES).index(c["model"]), STRATEGIES.index(c["strategy"]), c["rows"])):
        expected, measured = estimated(cell).growth, growth(cell["measured"])
        ratio = expected / measured
        off += abs(ratio - 1) > NEAR
        size = f"{cell['rows']} x {cell['features']}"
        rows.append([TITLES[cell["model"]], STRATEGY_NAMES[cell["strategy"]], size, *(f"{b / 1e6:,.0f}" for b in (expected, measured))])
        rows[-1].append(f"{ratio:.2f}" if abs(ratio - 1) <= NEAR else f"**{ratio:.2f}**")
    head = ["Model", "Strategy", "Rows x columns", "Estimated (MB)", "Measured (MB)", "Ratio"]
    meters = " and ".join(sorted({cell["meter"].replace("_", " ") for cell in cells}))
    said = f"{len(rows) - off} of {len(rows)} lie within {NEAR:.0%}" + (" (the others are in bold)" if off else "")
    return f"{markdown_table(head, rows)}\n\nGrowth of memory over the loaded model ({meters}) at its peak; {said}."


def main() -> None:
    """Measures what is missing, prints, and writes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="JSON lines; what is in it is not measured again")
    parser.add_argument("--models", nargs="*", choices=TITLES, default=list(TITLES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="put the table into the documentation")
    arguments = parser.parse_args()
    known = [json.loads(line) for line in arguments.runs.read_text().splitlines()] if arguments.runs.exists() else []
    there = {(c["model"], c["strategy"], c["rows"], c["features"], c["device"]) for c in known}
    with tempfile.TemporaryDirectory() as folder, arguments.runs.open("a") as runs:
        weights = random_weights(Path(folder) / "random.ckpt") if "tabicl-v2" in arguments.models else None
        for model in arguments.models:
            for rows, features in SIZES:
                for strategy in STRATEGIES:
                    if (model, strategy, rows, features, arguments.device) in there:
                        continue
                    cell = {"model": model, "strategy": strategy, "rows": rows, "features": features, "device": arguments.device}
                    found = in_fresh_process({**cell, "weights": str(weights)}) | {"weights": None}
                    print(f"{model} {strategy} {rows}x{features}: {growth(found['measured']) / 1e6:,.0f} MB", file=sys.stderr)
                    known.append(found)
                    runs.write(json.dumps(found) + "\n")
                    runs.flush()
    text = table([cell for cell in known if cell["model"] in arguments.models and cell["device"] == arguments.device])
    print(text)
    if arguments.write:
        write_block("estimate", text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cell"]:
        print(json.dumps(measure(json.loads(sys.argv[2]))))
    else:
        main()
