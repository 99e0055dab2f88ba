"""Stands in for tabtune_core.engine.experiment without torch; what it does is the name of the target column."""

import contextlib
import os
import signal
import threading
import time

from tabtune_core.errors import Cancelled, TargetError
from tabtune_core.events import RunFinished, StepDone


def run_experiment(settings, *, home, run_dir, emit, stop_request, given, fresh, member=None):
    """Emits one step, then does as it is called."""
    print(f"The fake was here. Device: {given} Cores: {sorted(os.sched_getaffinity(0))} Threads: {os.environ.get('OMP_NUM_THREADS')}")
    (run_dir / "adapter.zip").write_bytes(b"weights")
    emit(StepDone(1, float("nan"), 1.0, 2e-4, 0.5))
    if settings.target == "steady":
        return tell_steadily(run_dir, emit)
    return BEHAVIOURS[settings.target](home, stop_request)


def result(outcome="finished"):
    """A result with one score."""
    scores = {"log_loss": 0.5}
    return RunFinished(outcome, 1, 1, False, scores, scores, {"log_loss": 0.6}, scores, 1.0, 0.1, 10, 5, "resident", 4, 100, None)


def tell_steadily(run_dir, emit):
    """A step every few milliseconds; ``told`` has a letter for each that the store has taken."""
    with (run_dir / "told").open("ab", buffering=0) as told:
        for step in range(2, 101):
            emit(StepDone(step, 0.5, 1.0, 2e-4, 0.5))
            told.write(b"x")
            time.sleep(0.005)
    return result()


def wait_until(condition):
    """A minute at most, so that a failed test leaves nothing behind for long."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def obey(home, stop_request):
    """Goes on until asked."""
    wait_until(lambda: stop_request() is not None)
    if stop_request() == "cancel":
        raise Cancelled("cancelled")
    return result("stopped")


def wait_for_go(home, stop_request):
    """Goes on until there is a file called go."""
    wait_until((home / "go").exists)
    return result()


def wait_for_partner(home, stop_request):
    """Goes on until two runs of the workspace are at this point at a time."""
    (home / f"partner-{os.getpid()}").touch()
    wait_until(lambda: len(list(home.glob("partner-*"))) == 2)
    return result()


def be_deaf(home, stop_request):
    """Hears neither stop requests nor TERM."""
    with contextlib.suppress(ValueError):  # in a thread, as on a cluster, where none is sent
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def linger(home, stop_request):
    """Has a result and does not go away."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    return result()


def break_down(home, stop_request):
    """A mistake of ours."""
    raise RuntimeError("boom")


def refuse(home, stop_request):
    """A mistake of the person."""
    raise TargetError("No linear layer under nowhere. Modules that have some: decoder.")


def need_too_much(home, stop_request):
    """What the allocator says."""
    raise MemoryError


def die_once(home, stop_request):
    """Is killed the first time and no more."""
    if not (home / "died").exists():
        (home / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return result()


def fail_once(home, stop_request):
    """Fails the first time and no more."""
    if not (home / "tried").exists():
        (home / "tried").touch()
        raise TargetError("Not yet.")
    return result()


def fill_once(home, stop_request):
    """Writes until the disk is full, the first time and no more."""
    if not (home / "filled").exists():
        (home / "filled").touch()
        with (home / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    return result()


BEHAVIOURS = {
    "quick": lambda home, stop_request: result(),
    "obedient": obey,
    "waiting": wait_for_go,
    "partner": wait_for_partner,
    "deaf": be_deaf,
    "lingering": linger,
    "broken": break_down,
    "refused": refuse,
    "greedy": need_too_much,
    "killed": lambda home, stop_request: os.kill(os.getpid(), signal.SIGKILL),
    "once": fail_once,
    "unlucky": die_once,
    "filling": fill_once,
}
