"""How long does a whole sweep take, and how long do the same runs take one by one with nothing shared?

``python tests/benchmarks/sweep_time.py`` prints Markdown; with ``--write`` it goes into the documentation. Three rounds
take about twenty minutes on a quiet machine.

Zero-shot, full fine-tuning and LoRA of r = 2, 4, 8, 16, 32 on scikit-learn's breast cancer (569 x 30) with TabICL mini,
one CPU thread, no early stopping.

- one sweep: ``loralab sweep`` in a fresh workspace, so its worker with all that runs share;
- one by one: ``loralab train`` seven times, each in a fresh process and a fresh workspace.

The rows of the table are the parts that LoRA adapts: the model's own targets, or only late ones, where the frozen parts
before them are computed once per input. The sides alternate, round by round, each round with its own seed, and must
have the same scores. Wall seconds are what a person waits; CPU seconds are of all started processes, to their end.
"""

import argparse
import contextlib
import csv
import ctypes
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from published import markdown_table, options, processor, publish
from sklearn.datasets import load_breast_cancer

from tabtune_core.execution.worker_flags import VARIABLE

RANKS = (2, 4, 8, 16, 32)
RUNS = ("inference", "base-ft", *(f"peft {rank}" for rank in RANKS))
ROOT = Path(__file__).parents[2]
TARGETS = {"the model's own": (), **{part: ("--targets", part) for part in ("icl_predictor", "late_layers")}}
SIDES = ("one sweep", "one by one")
SCORES = ("validation_log_loss", "test_log_loss")
PR_SET_CHILD_SUBREAPER = 36
LABEL = "diagnosis"


class Stopwatch:
    """Wall seconds of a block, and CPU seconds of every process that started in it."""

    wall = cpu = 0.0


@contextlib.contextmanager
def timed() -> Iterator[Stopwatch]:
    """Times the processes of a block. This process adopts those that a program leaves behind, and waits for them."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    watch, before, started = Stopwatch(), os.times(), time.perf_counter()
    yield watch
    watch.wall = time.perf_counter() - started
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = os.times()
    watch.cpu = sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system"))


def board(*arguments: object) -> list[dict[str, str]]:
    """The leaderboard that the command line prints; a failed command is shown with its error output."""
    command = [sys.executable, "-m", "tabtune_core", *map(str, arguments), "--format", "csv"]
    shares = {VARIABLE: "--parallel 1 --threads 1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | shares, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return list(csv.DictReader(io.StringIO(done.stdout)))


def measure(table: Path, home: Path, side: str, targets: tuple[str, ...], seed: int, steps: int) -> dict[str, Any]:
    """Trains all runs, as one sweep or one by one; returns seconds, and scores by run."""
    common = [table, "--target", LABEL, "--model", "tabicl-mini", "--device", "cpu", "--steps", steps]
    common += ["--set", "patience=0"]
    rows = []
    with timed() as watch:
        if side == "one sweep":
            chosen = [*targets, "--no-references", "--one-rate", "--ranks", *RANKS, "--seeds", seed, "--home", home]
            rows = board("sweep", *common, *chosen)
        else:
            for run in RUNS:
                strategy, _, rank = run.partition(" ")
                lora = [*targets, "--rank", rank] if rank else []
                chosen = [*lora, "--strategy", strategy, "--seed", seed, "--home", home / run.replace(" ", "-")]
                rows += board("train", *common, *chosen)
    scores = {f"{row['strategy']} {row['rank']}": [float(row[name]) for name in SCORES] for row in rows}
    return {"wall": watch.wall, "cpu": watch.cpu, "scores": scores}


def report(rounds: list[dict[tuple[str, str], dict[str, Any]]], asked: argparse.Namespace) -> str:
    def median(targets: str, side: str, meter: str) -> float:
        return statistics.median(turn[targets, side][meter] for turn in rounds)

    rows = []
    for targets, side in product(asked.targets, SIDES):
        wall, cpu = median(targets, side, "wall"), median(targets, side, "cpu")
        ratios = (f"{taken / median(targets, SIDES[0], m):.2f}" for m, taken in (("wall", wall), ("cpu", cpu)))
        rows.append([targets, side, f"{wall:.1f}", f"{cpu:.1f}", *ratios])
    head = ["LoRA adapts", "run as", "wall (s)", "CPU (s)", "wall, ratio", "CPU, ratio"]
    return f"""{markdown_table(head, rows)}

{len(RUNS)} runs of {asked.steps} steps; medians of {len(rounds)} rounds; {processor()}, {os.cpu_count()} cores, 1 thread, torch
{torch.__version__}. The scores of both sides were equal."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=50, help="steps of each run (default: 50)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--targets", nargs="*", choices=list(TARGETS), default=list(TARGETS), help="rows of the table")
    asked = parser.parse_args()
    rounds: list[dict[tuple[str, str], dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as name:
        table = Path(name) / "breast_cancer.csv"
        load_breast_cancer(as_frame=True).frame.rename(columns={"target": LABEL}).to_csv(table, index=False)
        for number in range(asked.rounds):
            turn = {}
            for place, (targets, side) in enumerate(product(asked.targets, SIDES)):
                home = Path(name) / f"{number}-{place}"
                turn[targets, side] = measure(table, home, side, TARGETS[targets], number, asked.steps)
                print(f"round {number + 1}, {targets}, {side}: {turn[targets, side]['wall']:.1f} s", file=sys.stderr)
            for targets in asked.targets:
                one, other = (turn[targets, side]["scores"] for side in SIDES)
                assert one.keys() == other.keys()
                assert all(abs(a - b) < 1e-4 for run in one for a, b in zip(one[run], other[run], strict=True)), targets
            rounds.append(turn)
    publish("sweep", report(rounds, asked), write=asked.write)


if __name__ == "__main__":
    main()
