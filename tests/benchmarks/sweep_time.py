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
seconds are of all started processes, to their end. Ratios are of medians over the rounds. The last table divides the
wall seconds of our sides: "start" is everything outside the phases of runs, which is starting commands, workers and
forkservers, reading the table, and the gaps between runs.

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
from pathlib import Path
from typing import Any

import numpy as np
import tabtune_peer
from named_machine import processor
from published import markdown_table, options, publish
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


def tabtune_command(*arguments: object, threads: int) -> list[dict[str, str]]:
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
    found = {}
    for row in rows:
        if row["adapter_verified"] == "False":
            raise SystemExit(f"The adapter of {row['name']} was not verified.")
        run = f"peft {row['rank']}" if row["strategy"] == "peft" else row["strategy"]
        found[run] = {part: {score: float(row[f"{part}_{score}"]) for score in SCORES} for part in PARTS}
    return found


def ours(
    table: Path, home: Path, side: str, targets: tuple[str, ...], seed: int, asked: argparse.Namespace
) -> dict[str, Any]:
    """Trains all runs, as one sweep or one by one."""
    common = [
        table,
        "--target",
        LABEL,
        "--model",
        MODEL,
        "--device",
        "cpu",
        "--steps",
        asked.steps,
        "--patience",
        0,
        *targets,
    ]
    seeded = ("--seeds" if side == "one sweep" else "--seed", seed)
    rows = []
    with timed() as watch:
        if side == "one sweep":
            rows = tabtune_command(
                "sweep", *common, "--no-references", "--ranks", *RANKS, *seeded, "--home", home, threads=asked.threads
            )
        else:
            for run in RUNS:
                strategy, _, rank = run.partition(" ")
                lora = [*targets, "--rank", rank] if rank else []
                chosen = [*common[: -len(targets) or None], *lora, "--strategy", strategy]
                rows += tabtune_command(
                    "train", *chosen, *seeded, "--home", home / run.replace(" ", "-"), threads=asked.threads
                )
    homes = [home] if side == "one sweep" else [home / run.replace(" ", "-") for run in RUNS]
    return {"wall": watch.wall, "cpu": watch.cpu, "scores": our_scores(rows), "phases": phase_seconds(homes)}


def phase_seconds(homes: list[Path]) -> dict[str, float]:
    """Wall seconds of each phase, over all runs of some workspaces."""
    from tabtune_core.events import PhaseDone
    from tabtune_core.store.runs import RunStore

    found: dict[str, float] = {}
    for store in map(RunStore, homes):
        for run in store.runs():
            for stored in store.events(run.id, ("PhaseDone",)):
                assert isinstance(stored.event, PhaseDone)
                found[stored.event.phase] = found.get(stored.event.phase, 0.0) + stored.event.seconds
    return found


def theirs(python: Path, rows: Path, sizes: dict[str, int], seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Runs TabTune's leaderboard."""
    from tabtune_core.models.catalogue import CATALOGUE
    from tabtune_core.models.checkpoints import find_checkpoint

    checkpoint, _ = find_checkpoint(CATALOGUE[MODEL], "classification", None)
    sizes = {**sizes, "steps": asked.steps, "threads": asked.threads, "views": asked.views, "seed": seed}
    options = {"checkpoint": checkpoint, "rows": rows, **sizes}
    command = [
        str(python),
        tabtune_peer.__file__,
        "leaderboard",
        *(text for name, value in options.items() for text in (f"--{name}", str(value))),
    ]
    with timed() as watch:
        done = subprocess.run(
            command, capture_output=True, text=True, env=clean_environment(asked.threads), check=False
        )
    if done.returncode:
        raise SystemExit(f"TabTune's leaderboard ended with {done.returncode}:\n{done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    names = dict(zip(told["entries"], RUNS, strict=True))
    return {
        "wall": watch.wall,
        "cpu": watch.cpu,
        "import": told["import_seconds"],
        "scores": {names[n]: e for n, e in told["entries"].items()},
    }


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


def mean_score(scores: dict[str, dict[str, dict[str, float]]], part: str, score: str) -> float:
    """The mean of a score over all runs."""
    return statistics.fmean(run[part][score] for run in scores.values())


def report(rounds: list[dict[str, dict[str, dict[str, Any]]]], sizes: dict[str, int], asked: argparse.Namespace) -> str:
    """Markdown of times and ratios, then of scores."""
    import torch

    def medians(targets: str, side: str) -> tuple[float, float]:
        done = [turn[targets][side] for turn in rounds]
        return statistics.median(one["wall"] for one in done), statistics.median(one["cpu"] for one in done)

    times, scores = [], []
    for targets in asked.targets:
        base = medians(targets, asked.sides[0])
        for side in asked.sides:
            wall, cpu = medians(targets, side)
            more = (
                f" (import {statistics.median(turn[targets][side]['import'] for turn in rounds):.1f})"
                if side == "TabTune"
                else ""
            )
            times.append(
                [targets, side, f"{wall:.1f}{more}", f"{cpu:.1f}", f"{wall / base[0]:.2f}", f"{cpu / base[1]:.2f}"]
            )
            found = [turn[targets][side]["scores"] for turn in rounds]
            means = [
                f"{statistics.fmean(mean_score(one, part, score) for one in found):.4f}"
                for part in PARTS
                for score in SCORES
            ]
            best = min(RUNS, key=lambda run: statistics.fmean(one[run]["validation"]["log_loss"] for one in found))
            scores.append(
                [
                    targets,
                    side,
                    *means,
                    f"{best}: {statistics.fmean(one[best]['validation']['log_loss'] for one in found):.4f}",
                ]
            )
    phases = []
    for targets in asked.targets:
        for side in [one for one in asked.sides if one != "TabTune"]:
            names = list(rounds[0][targets][side]["phases"])
            spent = [statistics.median(turn[targets][side]["phases"][name] for turn in rounds) for name in names]
            start = statistics.median(
                turn[targets][side]["wall"] - sum(turn[targets][side]["phases"].values()) for turn in rounds
            )
            phases.append([targets, side, *(f"{seconds:.1f}" for seconds in (start, *spent))])
    heads = [f"{part} {label}" for part in PARTS for label in SCORES.values()]
    parts = [
        markdown_table(["LoRA adapts", "run as", "wall (s)", "CPU (s)", "wall, ratio", "CPU, ratio"], times),
        f"{len(RUNS)} runs of {asked.steps} steps (context {sizes['support']}, query {sizes['query']} rows); medians "
        f"of {len(rounds)}"
        f" rounds; {processor()}, {os.cpu_count()} cores, {asked.threads} thread(s), torch {torch.__version__}.",
        markdown_table(["LoRA adapts", "run as", *heads, "best run by validation log-loss"], scores),
        f"Means over the {len(RUNS)} runs and {len(rounds)} splits.",
    ]
    if asked.threads == 1:  # the seconds of parallel runs overlap
        parts += [
            "Wall seconds of our runs, summed:",
            markdown_table(["LoRA adapts", "run as", "start", *names], phases),
        ]
    return "\n\n".join(parts)


def main() -> None:
    """Measures the sides in turn, prints, and writes with ``--write``."""
    parser = options(__doc__)
    parser.add_argument(
        "--tabtune", type=Path, required=True, metavar="FOLDER", help="folder of TabTune's environment; created once"
    )
    parser.add_argument("--steps", type=int, default=50, help="steps of each run (default: 50)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="of TabTune, and the number of our runs at once with one each (default: 1)",
    )
    parser.add_argument(
        "--views",
        type=int,
        default=1,
        help="views of TabTune's predictions (default: 1, as ours; its own default is 8)",
    )
    parser.add_argument("--targets", nargs="*", choices=list(TARGETS), default=list(TARGETS), help="rows of the table")
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=list(SIDES), help="sides to compare")
    asked = parser.parse_args()
    python = tabtune_python(asked.tabtune) if "TabTune" in asked.sides else None
    rounds: list[dict[str, dict[str, dict[str, Any]]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(asked.rounds):
            table, rows, sizes = prepare_rows(folder, number)
            turn: dict[str, dict[str, dict[str, Any]]] = {targets: {} for targets in asked.targets}
            for targets in asked.targets:
                for side in asked.sides:
                    if side == "TabTune":
                        assert python is not None
                        # TabTune has one choice of targets, so its first measurement serves all rows
                        first = turn[asked.targets[0]].get(side)
                        turn[targets][side] = first or theirs(python, rows, sizes, number, asked)
                    else:
                        home = folder / f"{number}-{targets}-{side}".replace(" ", "-").replace("'", "")
                        turn[targets][side] = ours(table, home, side, TARGETS[targets], number, asked)
                    done = turn[targets][side]
                    print(
                        f"round {number + 1}, {targets}, {side}: {done['wall']:.1f} s, CPU {done['cpu']:.1f} s",
                        file=sys.stderr,
                    )
            rounds.append(turn)
    text = report(rounds, sizes, asked)
    publish("sweep" if asked.threads == 1 else "sweep-all-cores", text, write=asked.write)


if __name__ == "__main__":
    main()
