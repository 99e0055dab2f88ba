"""Kills processes of a workspace at random, round after round, and looks whether anything is lost, stuck or left behind.

    python tests/benchmarks/kills.py --rounds 200 --seed 0

Every round queues runs that tell a step every few milliseconds (tests/fakes/fake_experiment.py) and a job, sends one to three signals to the
worker, the forkserver, a run, what a run set aside, or all at once, starts a worker again where none is there, and waits for the end. Then:
no row runs or waits, every step that a run had written is there and none is missing before it, the database is whole, and no process but the
worker's own is left. Exit status 0 when all that held in every round. Only Linux tells which processes are whose.
"""

import argparse
import collections
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from worker_program import queue, start_worker  # noqa: E402

from tabtune_core.execution.lock import worker_of  # noqa: E402
from tabtune_core.store.jobs import JOB_ENDED  # noqa: E402
from tabtune_core.store.runs import ENDED, RunStore  # noqa: E402

MARK = "TABTUNE_KILLS"
"""Environment variable that all processes of this program's workers have."""
TARGETS = ("run", "worker", "forkserver", "set aside", "all")
HOW = ("KILL", "KILL", "TERM", "STOP")
ROUND_SECONDS = 90.0


def processes(mark: str) -> dict[str, list[psutil.Process]]:
    """What lives of this program's workers, by what it is."""
    seen: dict[str, list[psutil.Process]] = {name: [] for name in ("worker", "forkserver", "run", "set aside", "tracker")}
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) != mark or process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            seen[kind_of(process)].append(process)
        except psutil.Error:
            continue
    return seen


def kind_of(process: psutil.Process) -> str:
    """By its command line and its parent's; a run whose forkserver is gone leads a session."""
    command = " ".join(process.cmdline())
    if "resource_tracker" in command:
        return "tracker"
    if "multiprocessing.forkserver" not in command:
        return "worker"
    parent = process.parent()
    above = " ".join(parent.cmdline()) if parent else ""
    if os.getsid(process.pid) == process.pid and "run_worker" not in above:
        return "run"
    if "multiprocessing.forkserver" in above and os.getsid(process.pid) == parent.pid:
        return "set aside"
    return "run" if "multiprocessing.forkserver" in above else "forkserver"


def send(process: psutil.Process, how: str, chance: random.Random) -> bool:
    """Whether it was there. One that is suspended goes on after a while."""
    try:
        process.send_signal(signal.Signals[f"SIG{how}"])
        if how == "STOP":
            time.sleep(chance.uniform(0.0, 1.0))
            process.send_signal(signal.SIGCONT)
    except psutil.NoSuchProcess:
        return False
    return True


def attack(mark: str, chance: random.Random, sent: collections.Counter[str]) -> None:
    """Sends one signal, or one to all."""
    target, how = chance.choice(TARGETS), chance.choice(HOW)
    there = processes(mark)
    if target == "all":
        everything = [process for kind in ("worker", "forkserver", "run", "set aside") for process in there[kind]]
        chance.shuffle(everything)
        hit = [send(process, "KILL", chance) for process in everything]
        sent["KILL all"] += any(hit)
    elif there[target]:
        sent[f"{how} {target}"] += send(chance.choice(there[target]), how, chance)


def settle(store: RunStore, workers: list) -> str | None:
    """Waits until all has ended, with a worker there; says what has not ended in time."""
    deadline = time.monotonic() + ROUND_SECONDS
    while time.monotonic() < deadline:
        waiting = [run for run in store.runs() if run.status not in ENDED] + [job for job in store.jobs() if job.status not in JOB_ENDED]
        if not waiting:
            return None
        for worker in workers:
            worker.poll()
        if worker_of(store.home) is None:
            workers.append(start_worker(store.home))
            time.sleep(1.0)
        time.sleep(0.05)
    return f"not ended: {[(one.id, one.status, one.pid) for one in waiting]}"


def lost(store: RunStore, run_ids: list[str]) -> list[str]:
    """Steps that a run had written and that are not there, or that miss one before them."""
    found = []
    for run_id in run_ids:
        steps = [stored.event.step for stored in store.events(run_id, ["StepDone"])]
        told = store.run_dir(run_id) / "told"
        written = len(told.read_bytes()) + 1 if told.exists() else 0
        if steps != list(range(1, len(steps) + 1)) or len(steps) < written:
            found.append(f"run {run_id} wrote {written} steps; there are {steps}")
        if store.run(run_id).status == "finished" and len(steps) != 100:
            found.append(f"run {run_id} finished with {len(steps)} steps")
    return found


def broken(store: RunStore) -> list[str]:
    """What SQLite finds wrong with the database."""
    with sqlite3.connect(store.home / "runs.sqlite") as database:
        said = [row[0] for row in database.execute("PRAGMA integrity_check")]
    return [] if said == ["ok"] else said


def left_behind(mark: str) -> list[str]:
    """Runs that go on although all rows have ended; they get a few seconds to go away."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        there = processes(mark)
        left = [*there["run"], *there["set aside"]]
        if not left and len(there["worker"]) <= 1 and len(there["forkserver"]) <= 1:
            return []
        time.sleep(0.1)
    return [f"{kind}: {[process.pid for process in there[kind]]}" for kind in there if kind != "tracker"]


def one_round(store: RunStore, mark: str, chance: random.Random, sent: collections.Counter[str], workers: list) -> list[str]:
    """Everything that was wrong."""
    run_ids = queue(store, "steady", "steady", quick_sweep=chance.random() < 0.3) + queue(store, "steady")
    store.add_job("double", {"number": 1})
    if worker_of(store.home) is None:
        workers.append(start_worker(store.home))
    for _ in range(chance.randint(1, 3)):
        time.sleep(chance.uniform(0.0, 1.5))
        attack(mark, chance, sent)
    stuck = settle(store, workers)
    if stuck:
        return [stuck]
    return [*lost(store, run_ids), *broken(store), *left_behind(mark)]


def main() -> int:
    """The rounds, and what they came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance, sent, wrong, workers = random.Random(asked.seed), collections.Counter[str](), 0, []
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        os.environ[MARK] = mark = f"{os.getpid()}-{folder}"
        store = RunStore(Path(folder))
        for number in range(asked.rounds):
            for found in one_round(store, mark, chance, sent, workers):
                wrong += 1
                print(f"round {number}: {found}", flush=True)
            if number % 10 == 9:
                print(f"{number + 1} rounds, {sum(sent.values())} signals, {wrong} wrong", flush=True)
        ended = collections.Counter(run.status for run in store.runs())
        for worker in workers:
            worker.terminate()
            worker.wait(timeout=30)
        wrong += (left := any(process for kind, there in processes(mark).items() if kind != "tracker" for process in there))
        print(f"runs: {dict(ended)}; jobs: {dict(collections.Counter(job.status for job in store.jobs()))}; signals: {dict(sent)}")
        print(f"processes left at the end: {left}; wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
