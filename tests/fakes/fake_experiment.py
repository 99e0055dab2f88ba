"""Stands in for tabtune_core.engine.experiment without torch; the name of the target column says what it does.

A racing run trains like a steady one, with a loss that is smallest at BEST_RATE; above HIGHEST_RATE it diverges.
"""

import contextlib
import dataclasses
import json
import math
import os
import signal
import threading
import time

from tabtune_core.errors import Cancelled, TargetError, Waiting
from tabtune_core.events import Evaluated, Resumed, RunFinished, StepDone
from tabtune_core.store.run_folder import LAST_STATE, STATES

STEPS, EVALUATED_EVERY = 100, 10
"""Number of steps of a steady run."""
BULK = 1_000_000_000
"""Bytes that a bulky run leaves: enough for a machine to be lost while they are fetched."""
BEST_RATE, HIGHEST_RATE, DIVERGES_AT = 1e-3, 0.5, 60
JOURNAL = "journal.txt"
"""File of a steady run: one line per process and per saved state."""


def run_experiment(settings, *, home, run_dir, emit, stop_request, given, fresh, rungs=(), paused=False):
    """Emits one step, then does what its name says; a steady run trains."""
    if settings.target == "steady":
        return train_steadily(run_dir, emit)
    if settings.target == "racing":
        return train_steadily(run_dir, emit, rungs, settings.learning_rate)
    print(
        f"The fake was here. Device: {given} Cores: {sorted(os.sched_getaffinity(0))} Threads: "
        f"{os.environ.get('OMP_NUM_THREADS')}"
    )
    (run_dir / "adapter.zip").write_bytes(b"weights")
    if settings.target == "bulky":
        os.truncate(run_dir / "adapter.zip", BULK)
    emit(StepDone(1, float("nan"), 1.0, 2e-4, 0.5))
    return BEHAVIOURS[settings.target](home, stop_request)


def result(outcome="finished"):
    scores = {"log_loss": 0.5}
    return RunFinished(
        outcome, 1, 1, False, scores, scores, {"log_loss": 0.6}, scores, 1.0, 0.1, 10, 5, "resident", 4, 100, None
    )


def train_steadily(run_dir, emit, rungs=(), rate=None):
    """Takes a step every few milliseconds, whose loss depends on all earlier ones; resumes from the last state."""
    pauses = {EVALUATED_EVERY * round(share * STEPS / EVALUATED_EVERY) for share in rungs}
    file, at = run_dir / STATES / LAST_STATE, {"step": 0, "weight": 0, "went_on": []}
    if file.exists():
        at = json.loads(file.read_text())
        at["went_on"].append(at["step"])
        emit(Resumed(at["step"]))
    with (run_dir / JOURNAL).open("a", buffering=1) as journal:
        journal.write(f"began {at['step']}\n")
        while at["step"] < STEPS:
            if at["step"] in pauses:
                raise Waiting
            at["step"] += 1
            if rate and rate > HIGHEST_RATE and at["step"] == DIVERGES_AT:
                return result("diverged")
            at["weight"] = (
                at["weight"] * 48_271 + at["step"]
            ) % 2_147_483_647  # MINSTD (Park, Miller and Stockmeyer 1993) and the step
            emit(StepDone(at["step"], float(at["weight"]), 1.0, 2e-4, 0.5))
            time.sleep(0.005)
            if at["step"] % EVALUATED_EVERY == 0:
                loss = abs(math.log(rate / BEST_RATE)) if rate else float(at["weight"])
                emit(Evaluated(at["step"], "validation", {"log_loss": loss}, False, 0.5))
                save(file, at)
                journal.write(f"saved {at['step']}\n")
    scores = {"log_loss": float(at["weight"])}
    return dataclasses.replace(
        result(), validation=scores, test=scores, steps_done=STEPS, resumed_steps=tuple(at["went_on"])
    )


def save(file, at):
    file.parent.mkdir(exist_ok=True)
    file.with_suffix(".partial").write_text(json.dumps(at))
    file.with_suffix(".partial").replace(file)


def wait_until(condition):
    """Waits a minute at most, so that a failed test leaves no process behind for long."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def obey(home, stop_request):
    wait_until(lambda: stop_request() is not None)
    if stop_request() == "cancel":
        raise Cancelled("cancelled")
    return result("stopped")


def wait_for_go(home, stop_request):
    wait_until((home / "go").exists)
    return result()


def wait_for_partner(home, stop_request):
    """Continues until two runs of the workspace are here at the same time."""
    (home / f"partner-{os.getpid()}").touch()
    wait_until(lambda: len(list(home.glob("partner-*"))) == 2)
    return result()


def be_deaf(home, stop_request):
    with contextlib.suppress(ValueError):  # in a thread, as on a cluster, where no signal is sent
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def linger(home, stop_request):
    """Has a result but does not exit."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    return result()


def break_down(home, stop_request):
    raise RuntimeError("boom")


def refuse(home, stop_request):
    raise TargetError("No linear layer under nowhere. Modules that have some: decoder.")


def need_too_much(home, stop_request):
    raise MemoryError


def die_once(home, stop_request):
    if not (home / "died").exists():
        (home / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return result()


def fill_once(home, stop_request):
    if not (home / "filled").exists():
        (home / "filled").touch()
        with (home / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    return result()


BEHAVIOURS = {
    "quick": lambda home, stop_request: result(),
    "bulky": lambda home, stop_request: result(),
    "obedient": obey,
    "waiting": wait_for_go,
    "partner": wait_for_partner,
    "deaf": be_deaf,
    "lingering": linger,
    "broken": break_down,
    "refused": refuse,
    "greedy": need_too_much,
    "killed": lambda home, stop_request: os.kill(os.getpid(), signal.SIGKILL),
    "unlucky": die_once,
    "filling": fill_once,
}
