"""How long does a sweep take with several runs at once on one machine, and are a run's own figures unaffected?

``python tests/benchmarks/parallel_runs.py`` prints Markdown; with ``--write`` it goes into the documentation.

One sweep (zero-shot, full fine-tuning, LoRA of r = 2, 4, 8, 16) on scikit-learn's breast cancer (569 x 30) with TabICL
mini, by ``loralab sweep`` with its own worker in a fresh workspace, for each division of the cores into runs at once
and threads per run. The divisions alternate, round by round. Wall seconds are what a person waits; CPU seconds are of
all processes. Times, memory and scores are compared, round by round, with the same run alone on one thread: the median
ratio, and the largest difference of a score. On a busy machine several processes get more time than one, so wall
seconds favour several runs there. The second table does not depend on that: for a training step it has the seconds that
the first thread computes, which nothing can shorten, and those of all threads. "Waited" is the share of time in which a
thread was ready but had no core, as the kernel counts it for the whole machine (/proc/pressure/cpu).
"""

import argparse
import csv
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from named_machine import machine
from published import markdown_table, options, publish
from sklearn.datasets import load_breast_cancer
from sweep_time import timed

ROOT = Path(__file__).parents[2]
RANKS = (2, 4, 8, 16)
ALONE = (1, 1)
SCORES = [f"{part}_{score}" for part in ("validation", "test") for score in ("log_loss", "roc_auc", "accuracy")]


STEP = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[1]))
from tabtune_core.engine.experiment import run_experiment
from tabtune_core.store.runs import RunStore
told = []
def tell(event):
    if type(event).__name__ == "StepDone":
        told.append({task.name: int((task / "schedstat").read_text().split()[0]) for task in Path("/proc/self/task").iterdir()})
home, folder = Path(sys.argv[2]), Path(sys.argv[3])
settings = next(run.settings for run in RunStore(home).runs() if run.settings.strategy == sys.argv[4])
run_experiment(settings, home=home, run_dir=folder, emit=tell, stop_request=lambda: None)
spent = {thread: told[-1][thread] - told[1].get(thread, 0) for thread in told[-1]}
print(1e-9 * spent[str(os.getpid())] / (len(told) - 2), 1e-9 * sum(spent.values()) / (len(told) - 2))
"""
"""Trains a run and prints the seconds per step of its first thread and of all its threads."""


def steps(home: Path, cores: int) -> str:
    """Seconds of a step with one thread and with one per core."""
    rows = []
    for strategy, title in (("base-ft", "full fine-tuning"), ("peft", "LoRA r=2")):
        seconds = {}
        for threads in dict.fromkeys((1, cores)):
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-c", STEP, str(threads), str(home), folder, strategy]
                done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
            seconds[threads] = first, every = tuple(map(float, done.stdout.split()))
            most = f"{seconds[1][0] / first:.2f}"
            rows.append(
                [title, str(threads), f"{first:.3f}", f"{every:.3f}", most, f"{threads * first / seconds[1][0]:.2f}"]
            )
    head = [
        "step",
        "threads",
        "first thread (s)",
        "all threads (s)",
        "speed-up of one run, at most",
        "speed-up of as many runs of one thread",
    ]
    return markdown_table(head, rows)


def waited_seconds() -> float:
    """Seconds since the boot in which some thread of the machine was ready but had no core."""
    return 1e-6 * int(Path("/proc/pressure/cpu").read_text().split("\n")[0].rpartition("total=")[2])


def sweep(table: Path, home: Path, way: tuple[int, int], asked: argparse.Namespace) -> dict[str, Any]:
    """The seconds of a sweep, and its runs by name."""
    settings = [
        "--model",
        asked.model,
        "--device",
        "cpu",
        "--steps",
        asked.steps,
        "--patience",
        0,
        "--no-references",
        "--ranks",
        *RANKS,
    ]
    command = [
        sys.executable,
        "-m",
        "tabtune_core",
        "sweep",
        table,
        "--target",
        "target",
        *settings,
        "--home",
        home,
        "--format",
        "csv",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    environment |= {"PYTHONPATH": str(ROOT), "TABTUNE_WORKER": f"--parallel {way[0]} --threads {way[1]}"}
    before, began = waited_seconds(), time.perf_counter()
    with timed() as watch:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    waited = (waited_seconds() - before) / (time.perf_counter() - began)
    return {
        "wall": watch.wall,
        "cpu": watch.cpu,
        "waited": waited,
        "runs": {row["name"]: row for row in csv.DictReader(io.StringIO(done.stdout))},
    }


def ratio(turns: list[dict[tuple[int, int], dict[str, Any]]], way: tuple[int, int], column: str) -> str:
    """The ratio of a column to that of the same runs alone: median, lowest and highest."""
    found = [
        float(row[column]) / float(turn[ALONE]["runs"][name][column])
        for turn in turns
        for name, row in turn[way]["runs"].items()
        if row[column] and float(turn[ALONE]["runs"][name][column] or 0)
    ]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def difference(turns: list[dict[tuple[int, int], dict[str, Any]]], way: tuple[int, int]) -> str:
    """The largest difference between a score and that of the same run alone."""
    alone = [turn[ALONE]["runs"] for turn in turns]
    here = [turn[way]["runs"] for turn in turns]
    return f"{max(abs(float(h[n][s]) - float(a[n][s])) for h, a in zip(here, alone, strict=True) for n in a for s in SCORES):.1e}"


def report(turns: list[dict[tuple[int, int], dict[str, Any]]], asked: argparse.Namespace) -> str:
    """A table with one row per division of the cores."""
    rows = []
    for way in turns[0]:
        middle = {name: statistics.median(turn[way][name] for turn in turns) for name in ("wall", "cpu", "waited")}
        measured = [
            ratio(turns, way, column) for column in ("train_seconds", "growth_memory_bytes", "peak_memory_bytes")
        ]
        seconds = [f"{middle['wall']:.1f}", f"{middle['cpu']:.1f}"]
        rows.append([f"{way[0]} x {way[1]}", *seconds, *measured, difference(turns, way), f"{middle['waited']:.0%}"])
    head = [
        "runs at once x threads",
        "wall (s)",
        "CPU (s)",
        "training time",
        "memory growth",
        "peak memory",
        "largest score difference",
        "waited",
    ]
    runs = len(turns[0][ALONE]["runs"])
    return (
        f"{markdown_table(head, rows)}\n\n{runs} runs of {asked.steps} steps with {asked.model}; medians of "
        f"{len(turns)} rounds; training time and"
        f" memory as a ratio to the same run in 1 x 1, lowest and highest in brackets; {machine()}."
    )


def main() -> None:
    """Measures the divisions in turn, prints, and writes with ``--write``."""
    cores = len(os.sched_getaffinity(0))
    parser = options(__doc__)
    parser.add_argument("--model", default="tabicl-mini")
    parser.add_argument("--steps", type=int, default=30, help="steps of each run (default: 30)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--at-once",
        type=int,
        nargs="*",
        default=[1, 2, 4],
        help="numbers of runs; beyond the cores each has one thread",
    )
    asked = parser.parse_args()
    ways = list(dict.fromkeys([ALONE, *((number, max(1, cores // number)) for number in asked.at_once)]))
    turns = []
    with tempfile.TemporaryDirectory() as name:
        table = Path(name) / "breast_cancer.csv"
        load_breast_cancer(as_frame=True).frame.to_csv(table, index=False)
        for number in range(asked.rounds):
            turn = {}
            for way in ways:
                turn[way] = sweep(table, Path(name) / f"{number}-{way[0]}-{way[1]}", way, asked)
                print(
                    f"round {number + 1}, {way}: {turn[way]['wall']:.1f} s, CPU {turn[way]['cpu']:.1f} s",
                    file=sys.stderr,
                    flush=True,
                )
            turns.append(turn)
        text = f"{report(turns, asked)}\n\n{steps(Path(name) / '0-1-1', cores)}"
    publish("parallel", text, write=asked.write)


if __name__ == "__main__":
    main()
