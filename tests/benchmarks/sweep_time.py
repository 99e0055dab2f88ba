"""How long does a whole sweep take: our sweep, our runs one by one with nothing shared, and TabTune's leaderboard?

``python tests/benchmarks/sweep_time.py --tabtune FOLDER`` prints Markdown; with ``--write`` it goes into the
documentation. FOLDER has TabTune's environment, which is created there if missing (3 GB). Three rounds take about
twenty minutes on a quiet machine.

Zero-shot, full fine-tuning and LoRA of r = 2, 4, 8, 16, 32 on scikit-learn's breast cancer (569 x 30) with TabICL mini,
one CPU thread, no early stopping. All sides have the same steps, training rows, context and query rows per step and
rates (2e-4 for LoRA, 2e-5 for full fine-tuning), and predict the same validation and test rows with one view (TabTune's
default is eight: ``--views 8``).

- one sweep: ``loralab sweep`` in a fresh workspace, so its worker with all that runs share;
- one by one: ``loralab train`` seven times, each in a fresh process and a fresh workspace;
- TabTune: its ``TabularLeaderboard`` in its own environment, with one entry per run; ``tabtune_peer.py`` says what is
  changed in it. It evaluates no validation rows while it trains, writes and verifies no adapter, and has no other
  targets, so its time is the same in every row.

The rows of the table are the parts that LoRA adapts: the model's own targets, or only late ones, where the frozen parts
before them are computed once per input. The sides alternate, round by round. Wall seconds are what a person waits; CPU
seconds are of all started processes, to their end. Ratios are of medians over the rounds.

Every round has its own seed, which changes the training and validation rows. Scores are means over runs and rounds. In
our runs the validation rows also choose the best state (by log-loss, zero-shot included), so our validation scores are
slightly optimistic; the test scores are not. TabTune's scores are of its last state.
"""

import argparse
import contextlib
import csv
import ctypes
import io
import json
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

import numpy as np
import tabtune_peer
from published import markdown_table, options, processor, publish
from sklearn.datasets import load_breast_cancer
from tabtune_peer import clean_environment, tabtune_python

from tabtune_core.execution.worker_flags import VARIABLE

RANKS = (2, 4, 8, 16, 32)
RUNS = ("inference", "base-ft", *(f"peft {rank}" for rank in RANKS))
ROOT = Path(__file__).parents[2]
TARGETS = {"the model's own": (), **{part: ("--targets", part) for part in ("icl_predictor", "late_layers")}}
SIDES = ("one sweep", "one by one", "TabTune")
SCORES = {"log_loss": "log-loss", "roc_auc": "ROC AUC", "accuracy": "accuracy"}
PARTS = ("validation", "test")
PR_SET_CHILD_SUBREAPER = 36
MODEL, LABEL = "tabicl-mini", "diagnosis"


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


def our_board(*arguments: object, threads: int) -> list[dict[str, str]]:
    """The leaderboard that our command line prints; a failed command is shown with its error output."""
    command = [sys.executable, "-m", "tabtune_core", *map(str, arguments), "--format", "csv"]
    shares = {VARIABLE: f"--parallel {threads} --threads 1"}
    environment = {**clean_environment(1), **shares, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return list(csv.DictReader(io.StringIO(done.stdout)))


def our_scores(rows: list[dict[str, str]]) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by run and part."""
    scores = {}
    for row in rows:
        if row["adapter_verified"] == "False":
            raise SystemExit(f"The adapter of {row['name']} was not verified.")
        run = f"peft {row['rank']}" if row["strategy"] == "peft" else row["strategy"]
        scores[run] = {part: {score: float(row[f"{part}_{score}"]) for score in SCORES} for part in PARTS}
    return scores


def ours(
    table: Path, home: Path, side: str, targets: tuple[str, ...], seed: int, asked: argparse.Namespace
) -> dict[str, Any]:
    """Trains all runs, as one sweep or one by one."""
    common = [table, "--target", LABEL, "--model", MODEL, "--device", "cpu"]
    common += ["--steps", asked.steps, "--set", "patience=0"]
    rows = []
    with timed() as watch:
        if side == "one sweep":
            chosen = [*targets, "--no-references", "--ranks", *RANKS, "--seeds", seed, "--home", home]
            rows = our_board("sweep", *common, *chosen, threads=asked.threads)
        else:
            for run in RUNS:
                strategy, _, rank = run.partition(" ")
                lora = [*targets, "--rank", rank] if rank else []
                chosen = [*lora, "--strategy", strategy, "--seed", seed, "--home", home / run.replace(" ", "-")]
                rows += our_board("train", *common, *chosen, threads=asked.threads)
    return {"wall": watch.wall, "cpu": watch.cpu, "scores": our_scores(rows)}


def of_tabtune(python: Path, rows: Path, sizes: dict[str, int], seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Runs TabTune's leaderboard."""
    from tabtune_core.models.catalogue import CATALOGUE
    from tabtune_core.models.checkpoints import find_checkpoint

    checkpoint, _ = find_checkpoint(CATALOGUE[MODEL], "classification", None)
    sizes = {**sizes, "steps": asked.steps, "threads": asked.threads, "views": asked.views, "seed": seed}
    options = {"checkpoint": checkpoint, "rows": rows, **sizes}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command, environment = [str(python), tabtune_peer.__file__, *flags], clean_environment(asked.threads)
    with timed() as watch:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"TabTune's leaderboard ended with {done.returncode}:\n{done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    scores = dict(zip(RUNS, answer["entries"].values(), strict=True))
    return {"wall": watch.wall, "cpu": watch.cpu, "import": answer["import_seconds"], "scores": scores}


def prepare_rows(folder: Path, seed: int) -> tuple[Path, Path, dict[str, int]]:
    """The table as CSV, its rows with our split under a seed for TabTune, and the sizes of an episode."""
    from tabtune_core.data.datasets import add_dataset, get_dataset, load_frame
    from tabtune_core.data.task import prepare
    from tabtune_core.settings import RunSettings
    from tabtune_core.training.episodes import EpisodeSize

    table = folder / "breast_cancer.csv"
    frame = load_breast_cancer(as_frame=True).frame.rename(columns={"target": LABEL})
    frame.to_csv(table, index=False)
    home = folder / "split"
    settings = RunSettings(dataset=add_dataset(home, table, table.name).id, target=LABEL, model=MODEL, seed=seed)
    read = load_frame(home, settings.dataset)
    split = prepare(read, get_dataset(home, settings.dataset).columns, settings, max_classes=None).split
    size = EpisodeSize.plan(
        len(split.train), batch_size=settings.train.batch_size, context_rows=settings.train.context_rows
    )
    rows = folder / f"rows-{seed}.npz"
    x, y = frame.drop(columns=LABEL).to_numpy(), frame[LABEL].to_numpy()
    np.savez(rows, x=x, y=y, train=split.train, validation=split.validation, test=split.test)
    return table, rows, {"support": size.context, "query": size.query}


def report(rounds: list[dict[str, dict[str, dict[str, Any]]]], sizes: dict[str, int], asked: argparse.Namespace) -> str:
    """Markdown of times and ratios, then of scores."""
    import torch

    def median(targets: str, side: str, meter: str) -> float:
        return statistics.median(turn[targets][side][meter] for turn in rounds)

    def mean(targets: str, side: str, part: str, score: str, runs: tuple[str, ...] = RUNS) -> float:
        return statistics.fmean(turn[targets][side]["scores"][run][part][score] for turn in rounds for run in runs)

    times, scores = [], []
    for targets, side in product(asked.targets, asked.sides):
        wall, cpu = median(targets, side, "wall"), median(targets, side, "cpu")
        ratios = (f"{median(targets, side, m) / median(targets, asked.sides[0], m):.2f}" for m in ("wall", "cpu"))
        more = f" (import {median(targets, side, 'import'):.1f})" if side == "TabTune" else ""
        times.append([targets, side, f"{wall:.1f}{more}", f"{cpu:.1f}", *ratios])
        losses = {run: mean(targets, side, "validation", "log_loss", (run,)) for run in RUNS}
        best = min(losses, key=losses.__getitem__)
        means = (f"{mean(targets, side, part, score):.4f}" for part in PARTS for score in SCORES)
        scores.append([targets, side, *means, f"{best}: {losses[best]:.4f}"])
    heads = [f"{part} {label}" for part in PARTS for label in SCORES.values()]
    parts = [
        markdown_table(["LoRA adapts", "run as", "wall (s)", "CPU (s)", "wall, ratio", "CPU, ratio"], times),
        f"{len(RUNS)} runs of {asked.steps} steps (context {sizes['support']}, query {sizes['query']} rows); medians "
        f"of {len(rounds)}"
        f" rounds; {processor()}, {os.cpu_count()} cores, {asked.threads} thread(s), torch {torch.__version__}.",
        markdown_table(["LoRA adapts", "run as", *heads, "best run by validation log-loss"], scores),
        f"Means over the {len(RUNS)} runs and {len(rounds)} splits.",
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Measures the sides in turn, prints, and writes with ``--write``."""
    parser = options(__doc__)
    parser.add_argument("--tabtune", type=Path, metavar="FOLDER", help="folder of TabTune's environment; created once")
    parser.add_argument("--steps", type=int, default=50, help="steps of each run (default: 50)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of TabTune, and runs of ours at once (default: 1)")
    parser.add_argument("--views", type=int, default=1, help="of TabTune's predictions (default: 1; its own is 8)")
    parser.add_argument("--targets", nargs="*", choices=list(TARGETS), default=list(TARGETS), help="rows of the table")
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=list(SIDES), help="sides to compare")
    asked = parser.parse_args()
    asked.sides = [side for side in asked.sides if side != "TabTune" or asked.tabtune]
    python = tabtune_python(asked.tabtune) if "TabTune" in asked.sides else None
    rounds: list[dict[str, dict[str, dict[str, Any]]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(asked.rounds):
            table, rows, sizes = prepare_rows(folder, number)
            turn: dict[str, dict[str, dict[str, Any]]] = {targets: {} for targets in asked.targets}
            for targets, side in product(asked.targets, asked.sides):
                if side == "TabTune":  # it has one choice of targets, so its first measurement serves all rows
                    assert python is not None
                    first = turn[asked.targets[0]].get(side)
                    done = first or of_tabtune(python, rows, sizes, number, asked)
                else:
                    home = folder / f"{number}-{targets}-{side}".replace(" ", "-").replace("'", "")
                    done = ours(table, home, side, TARGETS[targets], number, asked)
                turn[targets][side] = done
                what = f"round {number + 1}, {targets}, {side}"
                print(f"{what}: {done['wall']:.1f} s, CPU {done['cpu']:.1f} s", file=sys.stderr)
            rounds.append(turn)
    text = report(rounds, sizes, asked)
    publish("sweep" if asked.threads == 1 else "sweep-all-cores", text, write=asked.write)


if __name__ == "__main__":
    main()
