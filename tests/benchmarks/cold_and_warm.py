"""Do two equal runs report the same seconds and memory, one with an empty folder of shared arrays and one with a full
folder?

``python tests/benchmarks/cold_and_warm.py`` prints Markdown. LoRA in TabICL mini's late layers, 25 steps, a table of
noise. Each run is a process of its own, and cold and warm runs alternate. ``train_seconds`` are the run's own (arrays
of an earlier run count with the time they took then); wall seconds are what a person waits. Growth is the peak of
training over the loaded model, as in a run. ``--busy N`` adds a second pair beside N programs that compute all the
time, and runs that read the other pair's arrays.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from memory_cell import VALIDATION_SHARE, trained
from named_machine import machine
from published import markdown_table

from tabtune_core.api.tuning_params import read_params
from tabtune_core.events import Event, PhaseDone
from tabtune_core.execution.forkserver import RUN_ENVIRONMENT

MODEL, TARGETS, FEATURES, STEPS = "tabicl-mini", ["icl_predictor"], 40, 25
QUERY = 256
NEAR_SECONDS, NEAR_BYTES = 0.1, 5e6
"""Allowed differences: a share of the cold run's seconds, and bytes of growth."""
COLD, WARM = "cold", "warm"
QUIET = {COLD: ("quiet", False), WARM: ("quiet", False)}
BUSY = {
    "cold, busy": ("busy", True),
    "warm, busy": ("busy", True),
    "warm, busy, made before": ("quiet", True),
    "warm, made while busy": ("busy", False),
}
"""Kinds of runs in their order: the folder of arrays, and whether other programs compute meanwhile."""


def measure(shared: Path, context_rows: int) -> dict[str, float]:
    """One run in this process, which reads and fills ``shared``."""
    params = {
        "device": "cpu",
        "steps": STEPS,
        "patience": 0,
        "context_rows": context_rows,
        "batch_size": QUERY,
        "validation_share": VALIDATION_SHARE,
        "peft_config": {"r": 2, "target_modules": TARGETS},
    }
    settings = read_params(MODEL, "peft", params, "classification")
    events = list[Event]()
    result, _ = trained(settings, context_rows + QUERY, FEATURES, events.append, shared)
    wall = next(event.seconds for event in events if isinstance(event, PhaseDone) and event.phase == "train")
    return {
        "own": result.train_seconds,
        "saved": result.shared_saved_seconds,
        "wall": wall,
        "growth": float(result.growth_memory_bytes or 0),
        "peak": float(result.peak_memory_bytes),
        "made": result.shared_made,
        "reused": result.shared_reused,
    }


def in_fresh_process(shared: Path, *more: str) -> dict[str, float]:
    """Runs ``measure`` in a process like the worker's."""
    done = subprocess.run(
        [sys.executable, __file__, *more, "--one", str(shared)],
        capture_output=True,
        text=True,
        env=RUN_ENVIRONMENT | os.environ,
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(found: dict[str, list[dict[str, float]]]) -> tuple[str, bool]:
    """Medians of each kind, their differences from the cold one, and whether those are small enough."""
    medians: dict[str, Any] = {
        kind: {name: statistics.median(run[name] for run in runs) for name in runs[0]} for kind, runs in found.items()
    }
    rows = [
        [
            kind,
            f"{m['own']:.1f}",
            f"{m['saved']:.1f}",
            f"{m['wall']:.1f}",
            f"{m['growth'] / 1e6:.1f}",
            f"{m['peak'] / 1e6:.0f}",
        ]
        for kind, m in medians.items()
    ]
    head = [
        "Folder",
        "train_seconds",
        "Of them computed before",
        "Wall seconds of training",
        "Growth (MB)",
        "Peak (MB)",
    ]
    apart = {name: {kind: m[name] - medians[COLD][name] for kind, m in medians.items()} for name in ("own", "growth")}
    seconds, growth = (max(of_kind.values(), key=abs) for of_kind in apart.values())
    share = seconds / medians[COLD]["own"]
    said = (
        f"Furthest from cold: {share:+.1%} of seconds, {growth / 1e6:+.1f} MB of growth; asked for: "
        f"{NEAR_SECONDS:.0%}, {NEAR_BYTES / 1e6:g} MB."
    )
    turns = f"Medians of {len(found[COLD])} each, taken in turn. {machine()}."
    return "\n\n".join([markdown_table(head, rows), said, turns]), abs(share) <= NEAR_SECONDS and abs(
        growth
    ) <= NEAR_BYTES


@contextmanager
def beside(programs: int) -> Iterator[None]:
    """Runs ``programs`` busy loops during the block."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> int:
    """Measures, prints, and returns 1 if the differences are larger than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--context-rows", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--busy", type=int, default=0, metavar="N")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.one:
        print(json.dumps(measure(asked.one, asked.context_rows)))
        return 0
    kinds = QUIET | (BUSY if asked.busy else {})
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(asked.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for kind, (shared, busy) in kinds.items():
                with beside(asked.busy if busy else 0):
                    found[kind].append(in_fresh_process(Path(folder) / shared, *sys.argv[1:]))
                print(kind, found[kind][-1], file=sys.stderr, flush=True)
    text, near = report(found)
    print(text)
    return 0 if near else 1


if __name__ == "__main__":
    sys.exit(main())
