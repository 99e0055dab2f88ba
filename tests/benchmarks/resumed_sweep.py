"""A sweep whose processes are killed at random moments, against the same sweep left alone: every score must be equal.

``python tests/benchmarks/resumed_sweep.py [--kills 20] [--seed 0] [--rows 400]``; prints what was killed, and how the two sweeps differ.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from tabtune_core.execution.lock import ensure_worker
from tabtune_core.store.runs import ENDED, Run, RunStore

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "--target",
    "y",
    "--ranks",
    "2",
    "--dropouts",
    "0",
    "0.1",
    "--no-references",
    "--steps",
    "60",
    "--eval-every",
    "5",
    "--patience",
    "12",
)
SIZES = ("--context-rows", "128", "--batch-size", "64", "--device", "cpu", "--format", "csv")
PATIENCE_SECONDS = 1800.0


def table(rows: int) -> pd.DataFrame:
    """Numbers with a noisy class."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6))
    noisy = x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=rows) > 0
    return pd.DataFrame(x.round(4), columns=list("abcdef")).assign(y=np.where(noisy, "yes", "no"))


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line, in a process of its own."""
    environment = {**os.environ, "TABTUNE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tabtune_core", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def kill_at_random(store: RunStore, kills: int, rng: np.random.Generator) -> int:
    """Kills what runs, again and again, and resumes what stays interrupted; how many kills there were."""
    done, until = 0, time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        runs = store.runs()
        for run in runs:
            if run.status == "interrupted":
                store.resume(run.id)
        if runs and all(run.status in ENDED and run.status != "interrupted" for run in runs):
            return done
        ensure_worker(store.home, exit_when_idle=True)  # which is killed too, where it has just taken a run
        running = [run for run in runs if run.status == "running" and run.pid]
        if running and done < kills:
            time.sleep(float(rng.exponential(6.0)))
            done += kill(store.run(running[0].id))
        time.sleep(0.1)
    raise SystemExit("The sweep did not end.")


def kill(run: Run) -> bool:
    """Whether there was a process to kill."""
    if run.status != "running" or run.pid is None:
        return False
    try:
        os.killpg(run.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    print(f"killed {run.name} (process {run.pid})", flush=True)
    return True


def doubled(store: RunStore) -> list[str]:
    """Names of runs with a step or an evaluation that was told twice, or a gap."""
    wrong = []
    for run in store.runs():
        steps = [values["step"] for values in store.fields([run.id], "StepDone")]
        looks = [values["step"] for values in store.fields([run.id], "Evaluated") if values["split"] == "validation"]
        if steps != list(range(1, len(steps) + 1)) or len(looks) != len(set(looks)):
            wrong.append(run.name)
    return wrong


def main() -> None:
    """Both sweeps, and how they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=400)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "table.csv"
        table(asked.rows).to_csv(data, index=False)
        boards = {}
        for name in ("left alone", "killed"):
            home = Path(folder) / name.replace(" ", "-")
            process, store = start(home, "sweep", str(data), *SETTINGS, *SIZES), RunStore(home)
            kills = kill_at_random(store, asked.kills if name == "killed" else 0, np.random.default_rng(asked.seed))
            process.communicate()
            boards[name] = pd.read_csv(start(home, "leaderboard", "--format", "csv").stdout).set_index("name").sort_index()
            print(f"{name}: {kills} kills, {[(run.name, run.status, run.resumptions, run.resumed) for run in store.runs()]}")
            print(f"{name}: doubled or missing steps in {doubled(store) or 'no run'}; left: {[str(f) for f in home.glob('runs/*/states')]}")
        scores = [column for column in boards["killed"] if column.startswith(("validation_", "test_", "zero_shot_", "best_step", "steps"))]
        same = boards["killed"][scores].equals(boards["left alone"][scores])
        print(boards["killed"][["status", "best_step", "validation_log_loss", "test_log_loss", "train_seconds", "growth_memory_bytes"]])
        print(boards["left alone"][["status", "best_step", "validation_log_loss", "test_log_loss", "train_seconds", "growth_memory_bytes"]])
        print(f"{len(scores)} columns of scores and steps of {len(boards['killed'])} runs are {'equal' if same else 'NOT EQUAL'}.")


if __name__ == "__main__":
    main()
