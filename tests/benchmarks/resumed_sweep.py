"""A sweep whose processes are killed at random moments of training, against the same sweep left alone: all scores and curves must be equal.

    python tests/benchmarks/resumed_sweep.py --kills 20 --seed 0

TabICL mini trains on the CPU. Each kill waits until a run has trained for some steps, and for part of a step or an evaluation; it reaches
the process of that run, or the worker where that has claimed the run again and starts it, and every fourth time both and the process that
runs are forked from. What stays interrupted is resumed.
Prints what was killed and how the two sweeps differ. Exit status 1 where they do, or where fewer kills than asked for found a run.
"""

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tabtune_core.execution.identity import found  # noqa: E402
from tabtune_core.execution.lock import ensure_worker, worker_of  # noqa: E402
from tabtune_core.store.run_row import ENDED, Run  # noqa: E402
from tabtune_core.store.runs import RunStore  # noqa: E402

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
MOST_STEPS = 8
"""That a run may train for between two kills: it is evaluated, and its state saved, every five."""
WITH_THE_WORKER = 4
"""Every so manieth kill reaches the worker and its forkserver, too."""
KINDS = {"StepDone": ["step", "loss", "gradient_norm", "learning_rate"], "Evaluated": ["step", "split", "scores", "best"]}
"""What a run tells of its training, but for its time."""


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


def carry_through(store: RunStore, kills: int, rng: np.random.Generator) -> int:
    """Kills what trains, again and again, and resumes what stays interrupted, until all has ended; how many kills there were."""
    done, until = 0, time.monotonic() + PATIENCE_SECONDS
    moments: dict[tuple[str, int], tuple[int, int]] = {}  # of each process of a run: the last step before it, and how many it may do
    while time.monotonic() < until:
        runs = store.runs()
        for run in runs:
            if run.status == "interrupted":
                store.resume(run.id)
        if runs and all(run.status in ENDED and run.status != "interrupted" for run in runs):
            return done
        ensure_worker(store.home, exit_when_idle=True)
        for run in runs if done < kills else ():
            if run.pid is None or run.status != "running":
                continue
            last = store.last_seqs(run.id, ["StepDone"])["StepDone"]
            seen, steps = moments.setdefault((run.id, run.pid), (last, int(rng.integers(1, MOST_STEPS + 1))))
            if len(store.events(run.id, ["StepDone"], after=seen)) >= steps:
                time.sleep(float(rng.uniform(0.0, 0.3)))
                done += kill(store, run, with_worker=done % WITH_THE_WORKER == WITH_THE_WORKER - 1)
                moments[run.id, run.pid] = (seen, sys.maxsize)  # not twice: it may take a moment to be gone
        time.sleep(0.02)
    raise SystemExit("The sweep did not end.")


def kill(store: RunStore, run: Run, *, with_worker: bool) -> bool:
    """Whether the run's process was there to be killed; it leads a group, and so does the worker that this program or the sweep started."""
    worker = worker_of(store.home)
    if found(run.pid, run.identity) != "alive" or store.run(run.id).status != "running":
        return False
    os.killpg(run.pid, signal.SIGKILL)
    if with_worker and worker is not None and found(worker.pid, worker.identity) == "alive":
        os.killpg(worker.pid, signal.SIGKILL)
    step = max((values["step"] for values in store.fields([run.id], "StepDone")), default=0)
    starting = "the worker that starts " if worker is not None and run.pid == worker.pid else ""
    print(f"killed {starting}{run.name} after step {step}{', and the worker' if with_worker else ''}", flush=True)
    return True


def curves(store: RunStore) -> dict[str, list[str]]:
    """What each run told of its training, by its name: in the order of steps, for one that goes on tells its zero-shot scores once more."""
    told: dict[str, list[str]] = {}
    for run in store.runs():
        fields = [[values[name] for name in names] for kind, names in KINDS.items() for values in store.fields([run.id], kind)]
        told[run.name] = [repr(values) for values in sorted(fields, key=lambda values: values[0])]
    return told


def doubled(store: RunStore) -> list[str]:
    """Names of runs with a step or an evaluation that was told twice, or a gap."""
    wrong = []
    for run in store.runs():
        steps = [values["step"] for values in store.fields([run.id], "StepDone")]
        looks = [values["step"] for values in store.fields([run.id], "Evaluated") if values["split"] == "validation"]
        if steps != list(range(1, len(steps) + 1)) or len(looks) != len(set(looks)):
            wrong.append(run.name)
    return wrong


def main() -> int:
    """Both sweeps, and how they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=400)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "table.csv"
        table(asked.rows).to_csv(data, index=False)
        boards, told, wrong = {}, {}, []
        for name, kills in (("left alone", 0), ("killed", asked.kills)):
            home, began = Path(folder) / name.replace(" ", "-"), time.monotonic()
            process, store = start(home, "sweep", str(data), *SETTINGS, *SIZES), RunStore(home)
            done = carry_through(store, kills, np.random.default_rng(asked.seed))
            process.communicate()
            boards[name] = pd.read_csv(start(home, "leaderboard", "--format", "csv").stdout).set_index("name").sort_index()
            told[name] = curves(store)
            again = sum(run.resumptions for run in store.runs())
            print(f"{name}: {done} kills, after which runs were queued again {again} times, in {time.monotonic() - began:.0f} s")
            for run in store.runs():
                print(f"  {run.name}: {run.status}, queued again {run.resumptions} times. {run.resumed}")
            wrong += [f"{name}: {done} kills, not {kills}"] * (done != kills)
            wrong += [f"{name}: steps of {run_name} are doubled or missing" for run_name in doubled(store)]
            wrong += [f"{name}: {states} is left" for states in home.glob("runs/*/states")]
        scores = [column for column in boards["killed"] if column.startswith(("validation_", "test_", "zero_shot_", "best_step", "steps"))]
        wrong += [f"{column} differs" for column in scores if not boards["killed"][column].equals(boards["left alone"][column])]
        for name, alone in told["left alone"].items():
            pairs = itertools.zip_longest(alone, told["killed"].get(name, []))
            wrong += [f"{name} told {killed}, and left alone {one}" for one, killed in pairs if one != killed][:3]
        print(boards["killed"][["status", "best_step", "validation_log_loss", "test_log_loss"]].to_string())
        points = sum(map(len, told["killed"].values()))
        print(f"{len(scores)} columns of scores and {points} points of the curves of {len(boards['killed'])} runs were compared.")
        print("\n".join(wrong) or "All are equal.")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
