"""Kills processes of a workspace at random, round after round, and checks that nothing is lost, stuck or left behind.

    python tests/benchmarks/kills.py --rounds 200 --seed 0

Every round queues a job and three runs that save a state at each evaluation (tests/fakes/fake_experiment.py), and sends
two to four signals to the dashboard, the worker, the forkserver, a run, a process that a run set aside, or all at once.
An interrupted run continues by itself the first time, unless its worker was started with --no-resume (half of the
workers started here are); otherwise this program resumes it. When all has ended, every run must have the steps,
evaluations and scores of an undisturbed one; each of its processes must have continued from the last saved state; the
database must be intact; only one dashboard and one worker with its forkserver may be left; and every tenth round the
dashboard must answer. Ctrl-C ends after the current round. The exit status is 0 if all of this held in every round.
Linux only, since other systems do not say which processes belong to the workspace.
"""

import argparse
import collections
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psutil

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "fakes"), str(TESTS.parent)]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:3])

from fake_experiment import EVALUATED_EVERY, JOURNAL, train_steadily  # noqa: E402
from soaking.lab import Lab, wait_until  # noqa: E402
from worker_program import queue, start_worker  # noqa: E402

from tabtune_core.events import Evaluated, StepDone  # noqa: E402
from tabtune_core.execution.service import sweep_up  # noqa: E402
from tabtune_core.store.run_folder import STATES  # noqa: E402
from tabtune_core.store.runs import RunStore  # noqa: E402

TARGETS = {"run": 10, "worker": 2, "forkserver": 2, "set aside": 2, "dashboard": 1, "all": 1}
"""Weights of the targets among those present; a dashboard needs seconds to start again, a worker one."""
HOW = ("KILL", "KILL", "TERM", "STOP")
MOST_LEFT = {"dashboard": 1, "worker": 1, "forkserver": 1}
ROUND_SECONDS = 120.0
"""On an idle machine."""
DASHBOARD = """
import sys
from dashboard import start as pages
from worker_program import start_worker
pages.ensure_worker = lambda home, **_: start_worker(home, "parallel=2")
pages.main(sys.argv[1:])
"""


class Victims(Lab):
    """A workspace, its dashboard and workers, and the signals sent to them."""

    program = ("-c", DASHBOARD)

    def __init__(self, folder: Path, chance: random.Random) -> None:
        super().__init__(folder)
        self.chance, self.resumed = chance, 0
        self.sent: collections.Counter[str] = collections.Counter()
        self.workers: list[subprocess.Popen] = []

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The live processes of this workspace by kind."""
        seen: dict[str, list[psutil.Process]] = {name: [] for name in TARGETS if name != "all"}
        for process in self.marked():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                seen.setdefault(kind_of(process), []).append(process)
        return seen

    def reap(self) -> bool:
        """Reaps ended processes; returns whether the dashboard runs."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        return self.server is not None and self.server.poll() is None

    def keep(self) -> None:
        """Starts a dashboard (which ensures a worker) and a worker if they are missing; resumes interrupted runs."""
        for run in self.store.runs(status="interrupted"):
            self.store.resume(run.id)
            self.resumed += 1
        if not self.reap():
            self.launch()
        if self.worker is None and not self.workers:
            flags = self.chance.choice(([], ["no-resume"]))
            self.workers.append(start_worker(self.home, "parallel=2", *flags))

    def attack(self) -> None:
        """Sends one signal to one present process, or to all."""
        there = {kind: found for kind, found in self.processes().items() if kind in TARGETS and found}
        there["all"] = [process for found in there.values() for process in found]
        (target,), how = self.chance.choices([*there], [TARGETS[kind] for kind in there]), self.chance.choice(HOW)
        hit = self.chance.sample(there[target], len(there[target]) if target == "all" else 1)
        self.sent[f"{how} {target}"] += send(hit, how, self.chance.uniform(0.0, 1.0))


def kind_of(process: psutil.Process) -> str:
    """The kind of a process by its command line and its parent's; a run whose forkserver is gone leads a session."""
    command = " ".join(process.cmdline())
    if "resource_tracker" in command:
        return "tracker"
    if "multiprocessing.forkserver" not in command:
        return "dashboard" if DASHBOARD in command else "worker"
    parent = process.parent()
    above = " ".join(parent.cmdline()) if parent else ""
    if os.getsid(process.pid) == process.pid and "run_worker" not in above:
        return "run"
    if "multiprocessing.forkserver" in above and os.getsid(process.pid) == parent.pid:
        return "set aside"
    return "run" if "multiprocessing.forkserver" in above else "forkserver"


def send(processes: list[psutil.Process], how: str, seconds: float) -> bool:
    """Sends signals and returns whether a process was there; suspended ones continue after ``seconds``."""
    there = 0
    for number in (f"SIG{how}", "SIGCONT") if how == "STOP" else (f"SIG{how}",):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.Signals[number])
                there += 1
        time.sleep(seconds if number == "SIGSTOP" else 0.0)
    return bool(there)


def wait_for_work(lab: Victims, *, seconds: float) -> None:
    """Waits until a run is running or none is queued, so that not most signals hit processes that are starting."""
    wait_until(lambda: lab.keep() or not lab.store.runs(status="queued") or lab.store.runs(status="running"), seconds)


def unsettled(lab: Victims, *, answering: bool) -> list[str]:
    """Queued or running work; else a dashboard that must answer but does not; else surplus processes; else interrupted
    runs.
    """
    lab.keep()
    store = lab.store
    left = [
        *store.runs(status="queued"),
        *store.runs(status="running"),
        *store.jobs(status="queued"),
        *store.jobs(status="running"),
    ]
    wrong = [f"{one.id} is {one.status} (process {one.pid})" for one in left]
    wrong = wrong or ["the dashboard does not answer"] * (answering and not lab.healthy())
    there = (
        {}
        if wrong
        else {kind: [one.pid for one in found] for kind, found in lab.processes().items() if kind != "tracker"}
    )
    wrong += [f"left: {kind} {pids}" for kind, pids in there.items() if len(pids) > MOST_LEFT.get(kind, 0)]
    return wrong or [f"{run.id} is interrupted" for run in store.runs(status="interrupted")]


def settle(lab: Victims, *, answering: bool) -> list[str]:
    """Waits until all is settled; returns what is not in time."""
    return (
        []
        if wait_until(lambda: not unsettled(lab, answering=answering), ROUND_SECONDS)
        else unsettled(lab, answering=answering)
    )


def left_alone(folder: Path) -> tuple[list[object], dict[str, float]]:
    """The events and scores of an undisturbed run."""
    told: list[object] = []
    return told, train_steadily(folder, told.append).test


def differences(store: RunStore, run_ids: list[str], told: list[object], scores: dict[str, float]) -> list[str]:
    """Runs whose events or scores differ from an undisturbed run, or that did not continue from their last state."""
    wrong = []
    for run_id in run_ids:
        events = [stored.event for stored in store.events(run_id, ["StepDone", "Evaluated"])]
        if events != told:
            steps = [event.step for event in events if isinstance(event, StepDone)]
            looks = [event.step for event in events if isinstance(event, Evaluated)]
            wrong.append(f"{run_id} told other steps or evaluations: {len(steps)}, {len(set(steps))} and {looks}")
        run, (began, wrong_start) = store.run(run_id), beginnings(store.run_dir(run_id) / JOURNAL)
        wrong += [f"{run_id} {wrong_start}"] if wrong_start else []
        if run.status != "finished" or run.result.test != scores or not set(run.result.resumed_steps) <= set(began):
            wrong.append(f"{run_id} is {run.status}, with another result: {run.result}")
    return wrong


def beginnings(journal: Path) -> tuple[list[int], str]:
    """The steps after which a run's processes began, and an error if one did not begin at the last saved state."""
    began, saved, wrong = [], 0, ""
    for kind, step in (line.split() for line in journal.read_text().splitlines()):
        if kind == "saved":
            saved = int(step)
            continue
        began.append(int(step))
        if int(step) not in (saved, saved + EVALUATED_EVERY):  # it may be killed between saving and recording that
            wrong = f"began after step {step} although step {saved} was saved"
        saved = int(step)
    return began, wrong


def broken(store: RunStore) -> list[str]:
    """The errors that SQLite finds in the database."""
    with closing(sqlite3.connect(store.home / "runs.sqlite")) as database, database:
        said = [row[0] for row in database.execute("PRAGMA integrity_check")]
    return [] if said == ["ok"] else said


def one_round(lab: Victims, told: list[object], scores: dict[str, float], *, answering: bool) -> list[str]:
    """Runs one round and returns everything that was wrong."""
    run_ids = queue(lab.store, "steady", "steady", "steady")
    lab.store.add_job("double", {"number": 1})
    for _ in range(lab.chance.randint(2, 4)):
        wait_for_work(lab, seconds=lab.chance.choice((0.0, 20.0, 20.0)))
        time.sleep(lab.chance.uniform(0.0, 1.0))
        lab.attack()
    return settle(lab, answering=answering) or [*differences(lab.store, run_ids, told, scores), *broken(lab.store)]


def end(lab: Victims) -> list[str]:
    """Ends everything as a person does; returns the processes and files left over."""
    deadline, wrong = time.monotonic() + 30.0, []
    for process in [*lab.processes()["dashboard"], *lab.processes()["worker"]]:
        process.terminate()
    while (
        left := [process for found in lab.processes().values() for process in found]
    ) and time.monotonic() < deadline:
        lab.reap()
        time.sleep(0.1)
    wrong = [f"left at the end: {kind_of(process)} {process.pid}" for process in left]
    for process in left:
        process.kill()
    sweep_up(lab.store)  # as the next worker does
    return wrong + [f"left at the end: {path}" for path in lab.store.home.glob(f"runs/*/{STATES}")]


def main() -> int:
    """Runs the rounds and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    wrong, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, tempfile.TemporaryDirectory() as other:
        lab = Victims(Path(folder), random.Random(asked.seed))
        told, scores = left_alone(Path(other))
        stopped: list[int] = []
        signal.signal(signal.SIGINT, lambda number, frame: stopped.append(number))
        for number in range(1, asked.rounds + 1):
            if stopped:
                break
            for found in one_round(lab, told, scores, answering=number % 10 == 0):
                wrong += 1
                print(f"round {number}: {found}", flush=True)
            if number % 10 == 0:
                print(
                    f"{number} rounds, {sum(lab.sent.values())} signals, {time.monotonic() - began:.0f} s, {wrong} "
                    "wrong",
                    flush=True,
                )
        for found in [*settle(lab, answering=True), *end(lab)]:
            wrong += 1
            print(found)
        runs = lab.store.runs()
        status = {
            name: dict(collections.Counter(one.status for one in rows))
            for name, rows in (("runs", runs), ("jobs", lab.store.jobs()))
        }
        again = [run for run in runs if run.resumptions]
        steps = sum(bool(run.result and run.result.resumed_steps) for run in again)
        print(
            f"{status} in {time.monotonic() - began:.0f} s; {sum(lab.sent.values())} signals: "
            f"{dict(sorted(lab.sent.items()))}"
        )
        print(
            f"{len(again)} runs were interrupted, {sum(run.resumptions for run in again)} times in all: they went on "
            "by themselves"
            f" {sum(run.resumptions for run in again) - lab.resumed} times and were resumed {lab.resumed} times; "
            f"{steps} went on from a saved state."
        )
        print(f"wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
