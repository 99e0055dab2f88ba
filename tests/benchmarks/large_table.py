"""How many seconds and how much memory does a table of a million rows take to read, check and train on, compared with a
tenth of it?

``python tests/benchmarks/large_table.py`` prints Markdown; with ``--write`` it goes into the documentation. ``--rows
1000000 100000`` sets the sizes. A CSV of 20 columns (numbers, categories, dates, a tenth of some missing) is read and stored, its label is
checked, and LoRA r=4 is trained for 20 steps with TabICL mini, including the adapter package and its check in a fresh
process. Each of the three is a process of its own and uses the product's own code. Memory is that process's peak
resident size in a stage, by the kernel (VmHWM).
"""

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from named_machine import machine
from published import markdown_table, options, publish

from tabtune_core.data.datasets import add_dataset, list_datasets, load_frame
from tabtune_core.data.leakage import may_leak
from tabtune_core.data.target_checks import check_label
from tabtune_core.engine.experiment import run_experiment
from tabtune_core.events import Event, PhaseDone, PhaseStarted
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings

STEPS, RANK = 20, 4


def write_csv(path: Path, rows: int, block: int = 100_000) -> None:
    """Writes a mixed table of 20 columns, three of which determine the label, in blocks, so that this process stays
    small.
    """
    rng = np.random.default_rng(0)
    for start in range(0, rows, block):
        n = min(block, rows - start)
        columns: dict[str, Any] = {f"number_{i}": rng.normal(size=n).round(4) for i in range(10)}
        columns |= {f"count_{i}": rng.integers(0, 1000 * (i + 1), n) for i in range(3)}
        columns |= {
            f"word_{k}": np.char.add("level ", rng.integers(0, k, n).astype(str)).astype(object)
            for k in (2, 8, 50, 400)
        }
        columns |= {
            f"day_{i}": np.datetime_as_string(np.datetime64("2015-01-01") + rng.integers(0, 3650, n)) for i in range(2)
        }
        frame = pd.DataFrame(columns)
        signal = frame["number_0"] + 0.5 * frame["number_1"] + (frame["word_8"] == "level 3") + 0.5 * rng.normal(size=n)
        for name in ("number_2", "number_3", "count_1", "word_50", "day_1"):
            frame[name] = frame[name].astype(object).where(rng.random(n) > 0.1, None)
        frame["label"] = np.select([signal < -0.5, signal < 0.5], ["low", "middle"], "high")
        frame.to_csv(path, index=False, mode="a" if start else "w", header=not start)


def resident(what: str) -> int:
    """Resident bytes: VmRSS for now, VmHWM for the peak since its last reset."""
    return 1024 * int(re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def cpu_seconds() -> float:
    """CPU seconds of this process and of the children that it waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


@contextmanager
def stage(found: dict[str, Any], name: str) -> Iterator[None]:
    """Records CPU seconds, wall seconds and the peak resident bytes of the block."""
    Path("/proc/self/clear_refs").write_text("5")
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield
    found[name] = [cpu_seconds() - cpu, time.perf_counter() - wall, resident("VmHWM")]


def read(home: Path, csv: Path) -> dict[str, Any]:
    """Adds the file to the workspace as a table."""
    found: dict[str, Any] = {}
    with stage(found, "the program itself"):
        pass
    with stage(found, "read and keep the CSV"):
        add_dataset(home, csv, csv.name)
    return found


def check(home: Path, csv: Path) -> dict[str, Any]:
    """Makes the checks that the pages make before a run."""
    found: dict[str, Any] = {}
    (dataset,) = list_datasets(home)
    with stage(found, "open the table"):
        frame = load_frame(home, dataset.id)
    with stage(found, "check the label, look for leaks"):
        check_label(frame, "label", max_classes=None)
        may_leak(frame, {column.name: column.kind for column in dataset.columns}, "label", "classification")
    return found


def train(home: Path, csv: Path) -> dict[str, Any]:
    """Trains a run and measures each phase."""
    (dataset,) = list_datasets(home)
    settings = RunSettings(
        dataset=dataset.id, target="label", lora=LoraSettings(rank=RANK), train=TrainSettings(steps=STEPS), device="cpu"
    )
    found: dict[str, Any] = {}
    began: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, PhaseStarted):
            began[:] = [cpu_seconds()]
        elif isinstance(event, PhaseDone):
            found[f"run: {event.phase}"] = [cpu_seconds() - began[0], event.seconds, event.peak_bytes["resident"]]

    folder = home / "run"
    folder.mkdir()
    run_experiment(settings, home=home, run_dir=folder, emit=emit, stop_request=lambda: None)
    return found


def in_fresh_process(what: str, home: Path, csv: Path) -> dict[str, Any]:
    """Runs ``read``, ``check`` or ``train`` in a process of its own."""
    command = [sys.executable, __file__, "--cell", what, str(home), str(csv)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def stages(sizes: list[int]) -> str:
    """A table with one row per stage: each size, and the ratio of the first to the last."""
    found: list[dict[str, Any]] = []
    for rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            csv, home = Path(name) / "table.csv", Path(name) / "home"
            write_csv(csv, rows)
            found.append({})
            for what in ("read", "check", "train"):
                found[-1] |= in_fresh_process(what, home, csv)
                print(rows, what, found[-1], file=sys.stderr)
    head = [
        "Stage",
        *(f"{rows:,} rows: {unit}" for rows in sizes for unit in ("CPU s (wall)", "MB")),
        "CPU ratio",
        "MB ratio",
    ]
    lines = []
    for name in found[0]:
        cells = [one[name] for one in found]
        line = [text for cpu, wall, peak in cells for text in (f"{cpu:.2f} ({wall:.2f})", f"{peak / 1e6:,.0f}")]
        (cpu, _, peak), (small_cpu, _, small_peak) = cells[0], cells[-1]
        lines.append([name, *line, f"{cpu / max(small_cpu, 0.01):.1f}", f"{peak / small_peak:.2f}"])
    return markdown_table(head, lines)


def main() -> None:
    """Measures, prints, and writes with ``--write``."""
    parser = options(__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000_000, 100_000], help="the last is what the first is compared with"
    )
    asked = parser.parse_args()
    publish("large-table", f"{stages(asked.rows)}\n\n{machine()}.", write=asked.write)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--cell"]:
        print(
            json.dumps(
                {"read": read, "check": check, "train": train}[sys.argv[2]](Path(sys.argv[3]), Path(sys.argv[4]))
            )
        )
    else:
        main()
