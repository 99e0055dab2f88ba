"""Kills processes of a workspace at random, round after round, and checks that nothing is lost, stuck or left behind.

    python tests/benchmarks/kills.py --rounds 200 --seed 0

Every round queues a job, three runs that save states and a race of three rates, and sends two to four signals. When all
has ended, every run has the steps and scores of an undisturbed one, each process continued from the last saved state,
the database is intact, and one dashboard and one worker are left. A run killed twice is resumed here. Linux only.
"""

import argparse
import collections
import contextlib
import os
import random
import secrets
import signal
import socket
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

from fake_experiment import EVALUATED_EVERY, JOURNAL, STEPS, train_steadily  # noqa: E402
from worker_program import queue, start_worker  # noqa: E402

from tabtune_core.execution.lock import worker_of  # noqa: E402
from tabtune_core.execution.service import sweep_up  # noqa: E402
from tabtune_core.settings import RunSettings  # noqa: E402
from tabtune_core.store.run_folder import STATES  # noqa: E402
from tabtune_core.store.runs import RunStore  # noqa: E402

MARK = "LORA_LAB_KILLS"
GOING = ("queued", "running", "waiting", "interrupted")
RACE = {1e-5: ("outrun", 20), 2e-3: ("finished", STEPS), 1e-4: ("outrun", 30)}
"""Learning rates -> how they end and after how many steps."""
TARGETS = {"run": 10, "worker": 2, "forkserver": 2, "set aside": 2, "dashboard": 1, "all": 1}
"""Weights of the targets among those present; a dashboard needs seconds to start again, a worker one."""
HOW = ("KILL", "KILL", "TERM", "STOP")
MOST_LEFT = {"dashboard": 1, "worker": 1, "forkserver": 1}
ROUND_SECONDS = 120.0
"""On an idle machine."""
DASHBOARD = """
import sys
from dashboard import start as pages
from tabtune_core.execution import lock
from worker_program import start_worker
pages.ensure_worker = lock.ensure_worker = lambda home, **_: start_worker(home, "parallel=2")
pages.main(sys.argv[1:])
"""


def wait_until(condition, seconds: float) -> bool:
    """Waits for a condition, on a busy machine longer; returns whether it came true in time."""
    deadline = time.monotonic() + seconds * (2 + os.getloadavg()[0] / (os.cpu_count() or 1))
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class Lab:
    """A workspace, its dashboard and workers, and the signals sent to them; all processes inherit the mark."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.home, self.chance, self.resumed, self.mark = folder / "workspace", chance, 0, secrets.token_hex(8)
        os.environ[MARK] = self.mark
        self.store = RunStore(self.home)
        self.sent: collections.Counter[str] = collections.Counter()
        self.server: subprocess.Popen | None = None
        self.workers: list[subprocess.Popen] = []

    def launch(self) -> None:
        """Starts the dashboard as a person does; it starts the worker."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-c", DASHBOARD, "--home", str(self.home), "--port", str(port), "--no-browser"]
        with (self.home.parent / "server.log").open("ab") as log:
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=TESTS.parent)

    def marked(self) -> list[psutil.Process]:
        """All live processes started here, without this one."""
        marked = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get(MARK) == self.mark and process.pid != os.getpid()
                marked += [process] if mine and process.status() != psutil.STATUS_ZOMBIE else []
        return marked

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The live processes of this workspace by kind."""
        seen = collections.defaultdict(list)
        for process in self.marked():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                seen[kind_of(process)].append(process)
        return seen

    def keep(self) -> None:
        """Starts a dashboard (which ensures a worker) and a worker if they are missing; resumes interrupted runs."""
        for run in self.store.runs(status="interrupted"):
            self.store.resume(run.id)
            self.resumed += 1
        if self.server is None or self.server.poll() is not None:
            self.launch()
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        if worker_of(self.home) is None and not self.workers:
            flags = self.chance.choice(([], ["no-resume"]))
            self.workers.append(start_worker(self.home, "parallel=2", *flags))

    def attack(self) -> None:
        """Sends one signal to one present process, or to all."""
        there = {kind: held for kind, held in self.processes().items() if kind in TARGETS and held}
        there["all"] = [process for held in there.values() for process in held]
        (target,), how = self.chance.choices([*there], [TARGETS[kind] for kind in there]), self.chance.choice(HOW)
        hit = self.chance.sample(there[target], len(there[target]) if target == "all" else 1)
        self.sent[f"{how} {target}"] += 1
        for number in ("SIGSTOP", "SIGCONT") if how == "STOP" else (f"SIG{how}",):
            for process in hit:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.Signals[number])
            time.sleep(self.chance.uniform(0.0, 1.0) if number == "SIGSTOP" else 0.0)


def kind_of(process: psutil.Process) -> str:
    """The kind of a process by its command line, its parent's and its session, which a run leads."""
    command = " ".join(process.cmdline())
    if "resource_tracker" in command:
        return "tracker"
    if "multiprocessing.forkserver" not in command:
        return "dashboard" if DASHBOARD in command else "worker"
    parent = process.parent()
    if "multiprocessing.forkserver" not in " ".join(parent.cmdline() if parent else ()):
        return "forkserver" if os.getsid(process.pid) != process.pid else "run"
    return "set aside" if os.getsid(process.pid) == parent.pid else "run"


def unsettled(lab: Lab) -> list[str]:
    """Queued, running or interrupted work; else surplus processes."""
    lab.keep()
    runs = [run for run in lab.store.runs() if run.status in GOING]
    jobs = [job for job in lab.store.jobs() if job.status in ("queued", "running")]
    wrong = [f"{one.id} is {one.status} (process {one.pid})" for one in (*runs, *jobs)]
    there = {} if wrong else {kind: len(held) for kind, held in lab.processes().items() if kind != "tracker"}
    return wrong + [f"left: {number} {kind}" for kind, number in there.items() if number > MOST_LEFT.get(kind, 0)]


def settle(lab: Lab) -> list[str]:
    """Waits until all is settled; returns what is not in time."""
    return [] if wait_until(lambda: not unsettled(lab), ROUND_SECONDS) else unsettled(lab)


def differences(store: RunStore, run_ids: list[str], undisturbed: list[object], scores: dict[str, float]) -> list[str]:
    """Runs whose events or scores differ from an undisturbed run, or that did not continue from their last state."""
    wrong = []
    for run_id in run_ids:
        events = [stored.event for stored in store.events(run_id, ["StepDone", "Evaluated"])]
        if events != undisturbed:
            wrong.append(f"{run_id} has other steps or evaluations: {[event.step for event in events]}")
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


def wrong_races(store: RunStore, run_ids: list[str]) -> list[str]:
    """Runs of a race that did not end at their rung, or have other steps than up to it."""
    wrong = []
    for run_id, (status, steps) in zip(run_ids, RACE.values(), strict=True):
        run = store.run(run_id)
        done = [stored.event.step for stored in store.events(run_id, ["StepDone"])]
        if (run.status, done) != (status, list(range(1, steps + 1))):
            wrong.append(f"{run_id}, of a race, is {run.status} at rung {run.rung} with the steps {done}")
    return wrong


def one_round(lab: Lab, undisturbed: list[object], scores: dict[str, float]) -> list[str]:
    """Runs one round and returns everything that was wrong."""
    run_ids = queue(lab.store, "steady", "steady", "steady")
    racing = [RunSettings(dataset="d", target="racing").changed(learning_rate=rate) for rate in RACE]
    _, race_ids = lab.store.add_sweep(racing, halving=True)
    lab.store.add_job("double", {"number": 1})
    for _ in range(lab.chance.randint(2, 4)):
        seconds = lab.chance.choice((0.0, 20.0, 20.0))  # or most signals would hit processes that are starting
        wait_until(
            lambda: lab.keep() or not lab.store.runs(status="queued") or lab.store.runs(status="running"), seconds
        )
        time.sleep(lab.chance.uniform(0.0, 1.0))
        lab.attack()
    with closing(sqlite3.connect(lab.home / "runs.sqlite")) as database:
        broken = [row[0] for row in database.execute("PRAGMA integrity_check") if row[0] != "ok"]
    return settle(lab) or [
        *differences(lab.store, run_ids, undisturbed, scores),
        *wrong_races(lab.store, race_ids),
        *broken,
    ]


def end(lab: Lab) -> list[str]:
    """Ends everything as a person does; returns the processes and files left over."""
    for process in [*lab.processes()["dashboard"], *lab.processes()["worker"]]:
        process.terminate()
    wait_until(lambda: not lab.marked(), 30.0)
    left = [f"left at the end: {kind_of(process)} {process.pid}" for process in lab.marked()]
    for process in lab.marked():
        process.kill()
    sweep_up(lab.store)  # as the next worker does
    return left + [f"left at the end: {path}" for path in lab.home.glob(f"runs/*/{STATES}")]


def main() -> int:
    """Runs the rounds and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    wrong, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, tempfile.TemporaryDirectory() as other:
        lab, undisturbed = Lab(Path(folder), random.Random(asked.seed)), list[object]()
        scores = train_steadily(Path(other), undisturbed.append).test
        for number in range(1, asked.rounds + 2):
            faults = [*settle(lab), *end(lab)] if number > asked.rounds else one_round(lab, undisturbed, scores)
            wrong += len(faults)
            for line in faults:
                print(f"round {number}: {line}", flush=True)
        counts = [
            dict(collections.Counter(one.status for one in rows)) for rows in (lab.store.runs(), lab.store.jobs())
        ]
        times = sum(run.resumptions for run in lab.store.runs())
        steps = sum(bool(run.result and run.result.resumed_steps) for run in lab.store.runs())
        print(
            f"{asked.rounds} rounds in {time.monotonic() - began:.0f} s; runs {counts[0]}, jobs {counts[1]}; "
            f"{sum(lab.sent.values())} signals: {dict(sorted(lab.sent.items()))}; runs were interrupted {times} times and "
            f"resumed by hand {lab.resumed} times; {steps} went on from a saved state. wrong: {wrong}"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
